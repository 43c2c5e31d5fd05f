#!/bin/sh
# usage: pack.sh STORE
set -eu
store=$(cd "${1:?usage: pack.sh STORE}" && pwd)
cd -- "$(dirname -- "$0")"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
"${PYTHON:-python3}" make_weights.py "$made/weights.pt"
${ARCHIVER:-torch-model-archiver} --force --model-name digits --version 1.0 --model-file model.py \
    --serialized-file "$made/weights.pt" --handler handler.py --extra-files index_to_name.json --export-path "$store"
