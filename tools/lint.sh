#!/bin/sh
# lint.sh LLVM_VERSION: everything that can be said about the source without running it. All steps run, then the
# verdict. Needs build/debug configured (its compile_commands.json) and build/venv.
set -eu
version=$1
failed=

step() {
    name=$1
    shift
    if "$@"; then
        printf 'lint: %-12s ok\n' "$name"
    else
        printf 'lint: %-12s FAILED\n' "$name"
        failed="$failed $name"
    fi
}

sources() { find "$@" -name '*.[ch]' 2>/dev/null | sort; }

formatting() {
    if [ "$version" != 19 ]; then
        echo "clang-format-19 is not here (only $version, which would disagree): formatting is left to CI"
        return 0
    fi
    unformatted=$(sources src backends include tests bench |
        xargs -r "clang-format-$version" --dry-run --style=file 2>&1 | sed -n 's/^\([^ :]*\):.*-Wclang-format.*/\1/p' | sort -u)
    [ -z "$unformatted" ] || {
        printf '%s\n' "$unformatted" "not formatted; mend with: clang-format-$version -i FILE (or ./dev format for all)"
        return 1
    }
}

# One file's verdict holds until it, a header, the rules or the compiler's flags change. The analyser looks into each
# function only shallowly, which takes seconds; SCONCE_LINT=deep makes it minutes, for a day when that is wanted.
tidy() {
    depth=${SCONCE_LINT:-shallow}
    mkdir -p build/lint
    common=$(sources src backends include | grep '\.h$' | sort | xargs cat .clang-tidy CMakeLists.txt cmake/flags.cmake | cksum)
    sources src backends | grep '\.c$' | grep -v /bench/ | grep -F -f build/lint/compiled >build/lint/all || :
    : >build/lint/todo
    while read -r file; do
        key=$(printf '%s' "$file $common $version $depth $(cksum <"$file")" | cksum | tr ' ' -)
        [ -e "build/lint/$key" ] || printf '%s %s %s\n' "$file" "$key" "$depth" >>build/lint/todo
    done <build/lint/all
    echo "clang-tidy-$version: $(wc -l <build/lint/todo) of $(wc -l <build/lint/all) files have changed"
    # shellcheck disable=SC2016 # expanded by the inner shell
    xargs -r -P "$(nproc)" -L 1 sh -c '"$0" --quiet --extra-arg=-Wno-unknown-warning-option \
            --extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg=mode="$3" \
            -p build/debug "$1" 2>build/lint/"$2".err && : >build/lint/"$2" ||
        { grep -v "warnings\? .*generated\|^Suppressed\|^Use -header-filter" build/lint/"$2".err; exit 1; }' \
        "clang-tidy-$version" <build/lint/todo
}

scripts() {
    # shellcheck disable=SC2046 # names without blanks
    shellcheck -x dev .ci/run $(find tools bench deploy tests -name '*.sh' 2>/dev/null)
}

python() {
    # shellcheck disable=SC2046
    build/venv/bin/python -m pyflakes $(find tools tests bench models backends examples -name '*.py' 2>/dev/null)
}

mkdir -p build/lint
sed -n 's/^ *"file": "\(.*\)",*$/\1/p' build/debug/compile_commands.json | sed "s|^$PWD/||" >build/lint/compiled

step house python3 tools/check_source.py
step formatting formatting
step scripts scripts
step python python
step clang-tidy tidy
[ -z "$failed" ] || {
    echo "lint failed:$failed" >&2
    exit 1
}
