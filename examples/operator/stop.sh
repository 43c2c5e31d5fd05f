#!/bin/sh
# usage: stop.sh FOLDER
set -eu
cd "${1:?usage: stop.sh FOLDER}"
torchserve --stop --foreground
