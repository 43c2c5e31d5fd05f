#!/bin/sh
# check-portable.sh DIR: the program and backends in DIR need nothing that a plain Ubuntu 22.04 does not have.
# A backend's companion module for oneDNN is exempt: it is left out where the library is missing.
set -eu
dir=$1
newest=2.35
failed=0

[ -x "$dir/sconce" ] || { echo "there is no program $dir/sconce" >&2 && exit 1; }
for file in "$dir"/sconce "$dir"/libsconce_*.so "$dir"/python/ts/*.so; do
    [ -e "$file" ] || continue
    case $file in *dnn*) continue ;; esac
    for library in $(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        case $library in
        libc.so.6 | libm.so.6 | libdl.so.2 | libpthread.so.0 | librt.so.1 | ld-linux*) ;;
        libssl.so.3 | libcrypto.so.3) ;;
        *) echo "$file needs $library" && failed=1 ;;
        esac
    done
    version=$(readelf -V "$file" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -V | tail -n 1)
    if [ "$(printf '%s\n%s\n' "$version" "$newest" | sort -V | tail -n 1)" != "$newest" ]; then
        echo "$file needs glibc $version, newer than $newest" && failed=1
    fi
done
[ "$failed" = 0 ] && echo "$dir: needs only the C library"
