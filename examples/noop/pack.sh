#!/bin/sh
# usage: pack.sh STORE
set -eu
store=$(cd "${1:?usage: pack.sh STORE}" && pwd)
cd -- "$(dirname -- "$0")"
${ARCHIVER:-torch-model-archiver} --force --model-name noop --version 1.0 --handler handler.py \
    --config-file model-config.yaml --export-path "$store"
