#!/bin/sh
# From a Debian 12 machine to the demo model: make.sh WORKDIR [--upto corpus]
# Wants python3 with the packages of requirements.txt, 3 GB in WORKDIR, and a GPU for train.py (which also runs
# without one; then leave out --max-seconds and bring patience). "--upto corpus" stops before the training.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$1
python=${PYTHON:-python3}
mkdir -p "$work/debs" "$work/root"

# 500 MB of packages; only the files with text in them are unpacked.
names=$(grep -v '^#' "$here/packages.txt" | while read -r pattern; do
    case $pattern in
    *'*') apt-cache search --names-only "^${pattern%\*}" | cut -d' ' -f1 |
        grep -vE -- '-(common|core|music|server|tools)$' ;;
    *) echo "$pattern" ;;
    esac
done | sort -u)
# shellcheck disable=SC2086
(cd "$work/debs" && apt-get download -q $names)
for deb in "$work"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" |
        tar -x -C "$work/root" --wildcards --no-anchored '*.mo' '*.page' '*.html' '*.qm' 2>/dev/null || true
done

"$python" "$here/extract.py" "$work/root" "$work/sentences.tsv"
"$python" "$here/prepare.py" "$work/sentences.tsv" "$work/corpus"
[ "${2-}" != --upto ] || exit 0
"$python" "$here/train.py" "$work/corpus" "$work/first" \
    --epochs 24 --per-language 16000 --batch 1024 --max-seconds 290
"$python" "$here/train.py" "$work/corpus" "$root/models/demo-langid" --resume "$work/first" \
    --dropout 0 --relatives 2 --epochs 8 --per-language 10000 --batch 1024 --rate 7e-4 --max-seconds 150
"$python" "$here/eval.py" "$root/models/demo-langid" "$work/corpus/test.tsv" "$root/tests/data/everyday.tsv"
"$python" "$here/expected.py" "$root/models/demo-langid" "$root/tests/data/everyday.tsv" \
    "$root/tests/data/demo_expected.json"
"$python" "$here/card.py" "$root/models/demo-langid"
