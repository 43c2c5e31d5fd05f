#!/bin/sh
# usage: start.sh FOLDER     FOLDER holds store/ with the archives; logs come to FOLDER/logs
set -eu
here=$(cd -- "$(dirname -- "$0")" && pwd)
cd "${1:?usage: start.sh FOLDER}"
export LOG_LOCATION="$PWD/logs" METRICS_LOCATION="$PWD/logs"
mkdir -p logs
torchserve --start --ncs --disable-token --model-store store --ts-config "${CONFIG:-$here/config.properties}" \
    >>logs/stdout.txt 2>&1

tries=0
until grep -q 'Model server started' logs/stdout.txt; do
    tries=$((tries + 1))
    [ "$tries" -lt 120 ] || { echo 'the server did not start; the end of logs/stdout.txt:' && tail logs/stdout.txt; exit 1; }
    sleep 0.5
done
echo 'started'
