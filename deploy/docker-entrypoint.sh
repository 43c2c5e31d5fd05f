#!/bin/sh
# docker-entrypoint.sh [COMMAND...]: what the container runs, as TorchServe's images understand it.
#
#   serve                  torchserve with /home/model-server/config.properties
#   serve OPTION...        the same with more options
#   torchserve OPTION...   torchserve with these options
#   anything else          is run as it is
#
# The server replaces this shell, so that it gets the container's signals; a start in the background would end the
# container at once, so there is none.
set -eu

if [ "${1-}" = serve ]; then
    shift
    set -- torchserve --start --ts-config /home/model-server/config.properties "$@"
fi
if [ "${1-}" = torchserve ]; then
    foreground=--foreground
    for word; do
        case $word in
        --stop | --version | -v | --help | -h | --foreground) foreground= ;;
        esac
    done
    [ -z "$foreground" ] || set -- "$@" --foreground
fi
exec "$@"
