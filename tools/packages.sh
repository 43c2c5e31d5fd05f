# shellcheck shell=sh
# What building and testing need, and how it gets here. Read by ./dev; the caller stands in the repository's root.
# Nothing is asked of apt while dpkg has everything.

BUILD_PACKAGES='gcc libc6-dev cmake ninja-build pkgconf libuv1-dev libjansson-dev libyaml-dev libarchive-dev
    libnghttp2-dev libprotobuf-c-dev protobuf-c-compiler
    libssl-dev zlib1g-dev'
# What libarchive calls: shared libraries come with it, static ones do not.
PORTABLE_PACKAGES='nettle-dev liblzma-dev libbz2-dev libzstd-dev'
# libdnnl-dev is not in Ubuntu 24.04: the encoder then has its plain kernels only. Without python3-dev, Python workers get
# the data path in plain Python.
OPTIONAL_PACKAGES='libdnnl-dev python3-dev'
TEST_PACKAGES='libcmocka-dev python3 python3-venv shellcheck curl openssl mandoc zsh nghttp2-client'
BENCH_PACKAGES='python3 python3-venv wrk nghttp2-client openssl openjdk-17-jre-headless'

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
known() { [ -n "$(apt-cache show --no-all-versions "$1" 2>/dev/null)" ]; }

apt_get() {
    set -- env DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o DPkg::Lock::Timeout=120 "$@"
    [ "$(id -u)" = 0 ] || set -- sudo "$@"
    "$@" </dev/null
}

may_install() { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }
must_install() {
    may_install || die "packages are missing, and there is neither root nor sudo
to install them. Ask an administrator for: apt-get install --no-install-recommends$missing"
}

# The package lists, at most once a run.
refreshed=
refresh() {
    [ -z "$refreshed" ] || return 0
    must_install
    say "apt-get update"
    apt_get update
    refreshed=1
}

missing=
# install PACKAGE...: those that are not there yet
install() {
    missing=
    for package; do
        installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "there is no apt-get here. Install by hand what Debian calls:$missing"
    must_install
    for package in $missing; do
        known "$package" || refresh
    done
    say "apt-get install$missing"
    mkdir -p build
    # shellcheck disable=SC2086 # a list of words
    apt_install $missing && return 0
    # Lists can be older than what the archive still has.
    refresh
    # shellcheck disable=SC2086
    apt_install $missing || {
        tail -n 20 build/apt.log >&2
        die "apt-get could not install:$missing (all it said: build/apt.log)"
    }
}

apt_install() { apt_get -o DPkg::Use-Pty=0 install --no-install-recommends "$@" >build/apt.log 2>&1; }

# The LLVM to use: what is here, else what can be had. 19 is CI's, and the one whose formatting counts.
llvm() {
    for test in installed known; do
        for version in 19 20 18; do
            if "$test" "clang-$version"; then
                echo "$version"
                return
            fi
        done
    done
    echo 19
}

deps_build() {
    # shellcheck disable=SC2086
    install $BUILD_PACKAGES "$@"
    for package in $OPTIONAL_PACKAGES; do
        if installed "$package" || [ -e "build/.without-$package" ] || ! may_install; then
            continue
        fi
        known "$package" || refresh
        if known "$package"; then
            install "$package"
        else
            say "going on without $package: it is not packaged for this system"
            : >"build/.without-$package"
        fi
    done
}

deps_portable() {
    # shellcheck disable=SC2086
    deps_build $PORTABLE_PACKAGES
}

deps_test() {
    # shellcheck disable=SC2086
    deps_build $TEST_PACKAGES
    version=$(llvm)
    if ! installed "clang-$version" && ! known "clang-$version"; then
        refresh
        version=$(llvm)
    fi
    install "clang-$version" "libclang-rt-$version-dev" "clang-tidy-$version" "clang-format-$version"
    venv build/venv tests/requirements.txt
    deps_torch
}

# PyTorch, for the tests of handlers that use it: 1.3 GB, and not to be had everywhere. Without it they are skipped by name.
deps_torch() {
    [ ! -e build/.without-torch ] || return 0
    (venv build/venv-torch tests/requirements-torch.txt && with_torchvision && build/venv-torch/bin/python -c 'import torch') || {
        say "going on without PyTorch, tests that need it are skipped (./dev clean, or rm build/.without-torch, to try again)"
        rm -rf build/venv-torch
        : >build/.without-torch
    }
}

# torchvision's wheel is built for CUDA: beside a torch without it it has to be helped (the file says how).
with_torchvision() {
    packages=$(build/venv-torch/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    [ ! -e "$packages/torchvision_cpu.pth" ] || return 0
    cp tests/python/torchvision_cpu/sitecustomize.py "$packages/torchvision_cpu.py" || return 1
    echo 'import torchvision_cpu' >"$packages/torchvision_cpu.pth"
}

deps_bench() {
    # shellcheck disable=SC2086
    deps_build $BENCH_PACKAGES
    command -v nginx >/dev/null || [ -x build/bench-tools/usr/sbin/nginx ] || {
        # Unpacked, not installed: a web server that starts by itself is not wanted on anybody's machine.
        known nginx || refresh
        say "nginx, unpacked into build/bench-tools"
        mkdir -p build/bench-tools
        (cd build/bench-tools && apt-get -qq download nginx && dpkg-deb -x nginx_*.deb . && rm -f nginx_*.deb)
    }
}

# venv DIR REQUIREMENTS: a Python environment, made anew when the requirements change
venv() {
    cmp -s "$2" "$1/.requirements" && return 0
    say "Python environment $1"
    python=/usr/bin/python3 # the one that the package python3-venv belongs to
    [ -x "$python" ] || python=python3
    rm -rf "$1"
    "$python" -m venv "$1" || return 1
    closed= # a list that says so names all that is needed: what a package would also like to have stays away
    ! grep -q '^# complete' "$2" || closed=--no-deps
    # shellcheck disable=SC2086
    "$1/bin/pip" --disable-pip-version-check --no-input --quiet install --no-compile $closed -r "$2" || return 1
    cp "$2" "$1/.requirements"
}
