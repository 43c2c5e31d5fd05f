#!/bin/sh
# usage: restart.sh FOLDER
set -eu
here=$(cd -- "$(dirname -- "$0")" && pwd)
sh "$here/stop.sh" "$1"
mv "$1/logs/stdout.txt" "$1/logs/stdout.old.txt"
exec sh "$here/start.sh" "$1"
