#!/bin/sh
# bare-root.sh [COMMAND]: proves that ./dev needs nothing. Makes a Debian 12 with not even make in it, puts a clone of
# this repository there (what is committed), and runs COMMAND in it (default: ./dev test). As root; needs debootstrap
# and git. The root stays in SCONCE_BARE (default /tmp/bare) for a second, quick run; remove the folder to start anew.
#
# This machine's apt sources, name service, certificates and pip settings are taken along: whatever makes packages
# reachable here makes them reachable there.
set -eu
cd -- "$(dirname -- "$0")/.."
root=${SCONCE_BARE:-/tmp/bare}
command=${1:-./dev test}

[ "$(id -u)" = 0 ] || { echo "bare-root: chroot and mount need root" >&2 && exit 1; }
command -v debootstrap >/dev/null || { echo "bare-root: install debootstrap first" >&2 && exit 1; }

if [ ! -e "$root/.made" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase bookworm "$root"
    : >"$root/.made"
fi

for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
    if [ -e "$file" ]; then
        mkdir -p "$root${file%/*}"
        cp -L "$file" "$root$file"
    fi
done
[ ! -e "$root/etc/apt/sources.list.d/debian.sources" ] || : >"$root/etc/apt/sources.list"
mkdir -p "$root/usr/local/share/ca-certificates" "$root/etc/ssl/certs"
cp -L /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || :
[ -e "$root/etc/ssl/certs/ca-certificates.crt" ] ||
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2>/dev/null || :

# The clone keeps its build folder between runs; its sources are always the committed ones.
work=$root/srv/sconce
if [ -d "$work/.git" ]; then
    git -c safe.directory='*' -C "$work" fetch -q "$PWD" HEAD
    git -c safe.directory='*' -C "$work" reset -q --hard FETCH_HEAD
else
    git clone -q --no-hardlinks "$PWD" "$work"
fi

# A clean environment, with this machine's pip settings only.
set -- HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
[ -z "${CI-}" ] || set -- "$@" CI="$CI"
for name in $(env | sed -n 's/^\(PIP_[A-Z_]*\)=.*/\1/p'); do
    case $name in
    PIP_FIND_LINKS) ;; # a folder of this machine
    *) set -- "$@" "$name=$(printenv "$name")" ;;
    esac
done
# Mounts and processes in namespaces of their own: both are gone when the command ends, however it ends.
# shellcheck disable=SC2016 # expanded inside
exec unshare --mount --pid --fork --kill-child sh -eu -c '
    root=$1
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    for node in null zero full random urandom tty; do
        : >"$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    command=$2
    shift 2
    env -i "$@" chroot "$root" sh -c "cd /srv/sconce && $command" </dev/null
' bare-root "$root" "$command" "$@"
