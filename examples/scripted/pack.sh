#!/bin/sh
# usage: pack.sh STORE
set -eu
store=$(cd "${1:?usage: pack.sh STORE}" && pwd)
cd -- "$(dirname -- "$0")"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
"${PYTHON:-python3}" make_module.py "$made/module.pt"
${ARCHIVER:-torch-model-archiver} --force --model-name scripted --version 1.0 --serialized-file "$made/module.pt" \
    --handler handler.py --export-path "$store"
