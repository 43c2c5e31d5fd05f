#!/bin/sh
# usage: pack.sh STORE
set -eu
store=$(cd "${1:?usage: pack.sh STORE}" && pwd)
cd -- "$(dirname -- "$0")"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
"${PYTHON:-python3}" make_model.py "$made"
files=index_to_name.json
for file in config.json tokenizer.json tokenizer_config.json vocab.txt special_tokens_map.json; do
    [ ! -e "$made/$file" ] || files=$files,$made/$file
done
${ARCHIVER:-torch-model-archiver} --force --model-name seqclass --version 1.0 \
    --serialized-file "$made/model.safetensors" --handler handler.py --extra-files "$files" \
    --config-file model-config.yaml --export-path "$store"
