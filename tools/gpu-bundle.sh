#!/bin/sh
# gpu-bundle.sh FILE.tar.xz: the sources and build/portable with what ./dev test-gpu, bench and lab run, in one archive for a
# machine that has a GPU and no compiler. There, in the unpacked folder: ./dev test-gpu --prebuilt build/portable
set -eu
cd -- "$(dirname -- "$0")/.."
file=${1:?gpu-bundle needs the name of the archive}
case $file in /*) ;; *) file=$PWD/$file ;; esac
[ -x build/portable/backends/encoder/encoder_engine ] || {
    echo "gpu-bundle: build/portable has no encoder_engine; ./dev gpu-bundle builds it" >&2
    exit 1
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
to=$folder/sconce-gpu
mkdir -p "$to/build/portable/backends/encoder"
git ls-files -z | xargs -0 cp -P --parents -t "$to"
(
    cd build/portable
    # sconce-lab is there where nvcc is
    for name in sconce sconce-lab torchserve torch-model-archiver torch-workflow-archiver libsconce_*.so python pages; do
        [ ! -e "$name" ] || cp -a "$name" "$to/build/portable/"
    done
    cp backends/encoder/encoder_engine "$to/build/portable/backends/encoder/"
)
for binary in "$to"/build/portable/sconce* "$to"/build/portable/*.so "$to"/build/portable/python/ts/*.so \
    "$to"/build/portable/backends/encoder/*; do
    if [ -e "$binary" ]; then
        strip --strip-unneeded "$binary"
    fi
done
tar -C "$folder" -cf - sconce-gpu | xz -T0 -6 >"$file"
ls -l "$file"
