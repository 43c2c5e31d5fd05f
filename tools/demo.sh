#!/bin/sh
# demo.sh BUILD [--once]: serves models/demo-langid with the program in BUILD, classifies sentences with curl and
# prints what came back. On a terminal it goes on serving until Ctrl-C; otherwise, or with --once, it ends.
set -eu
build=$1
shift
once=0
[ -t 1 ] || once=1
for word; do
    case $word in
    --once) once=1 ;;
    *) echo "demo: unknown word '$word'" >&2 && exit 2 ;;
    esac
done

model=$PWD/models/demo-langid
program=$PWD/$build/sconce
folder=$PWD/build/demo

[ -x "$program" ] || { echo "demo: there is no program $program; ./dev build makes it" >&2 && exit 1; }
for file in config.json model.safetensors sentences.tsv; do
    [ -e "$model/$file" ] || { echo "demo: the demo model is incomplete: $model/$file is missing" >&2 && exit 1; }
done

# free_port FROM: the first port from there on that nobody listens on
free_port() {
    port=$1
    while grep -q "^ *[0-9]*: [0-9A-F]*:$(printf '%04X' "$port") [0-9A-F]*:0000 0A" /proc/net/tcp /proc/net/tcp6 2>/dev/null; do
        port=$((port + 1))
    done
    echo "$port"
}
inference=$(free_port 8080)
management=$(free_port $((inference + 1)))
metrics=$(free_port $((management + 1)))

rm -rf "$folder"
mkdir -p "$folder"
cat >"$folder/config.properties" <<END
inference_address=http://127.0.0.1:$inference
management_address=http://127.0.0.1:$management
metrics_address=http://127.0.0.1:$metrics
END

(
    cd "$folder"
    exec "$program" serve --config config.properties --model-store "${model%/*}" --models "langid=$model" --foreground
) >"$folder/output.txt" 2>&1 &
server=$!
stop() {
    trap - EXIT INT TERM
    kill "$server" 2>/dev/null || :
    wait "$server" 2>/dev/null || :
}
trap stop EXIT
trap 'echo; echo "stopping the server"; exit 0' INT TERM

gave_up() {
    echo "demo: $1. What the server said:" >&2
    tail -n 20 "$folder/output.txt" >&2
    exit 1
}

url=http://127.0.0.1:$inference
printf '\n== sconce serve is starting on %s (logs: build/demo)\n' "$url"
tries=0
until curl -s -f -o /dev/null "$url/ping"; do
    kill -0 "$server" 2>/dev/null || gave_up "the server ended at start"
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || gave_up "the server was not healthy after 30 s"
    sleep 0.1
done
# The first request waits for the model to be loaded; it is not part of the table.
curl -s -f -o /dev/null --max-time 60 -H 'Content-Type: text/plain' --data-binary 'Hello' "$url/predictions/langid" ||
    gave_up "the model does not answer"

# A dozen, spread over the file.
grep -v '^#' "$model/sentences.tsv" | grep . >"$folder/sentences.tsv"
lines=$(wc -l <"$folder/sentences.tsv")
awk -v n="$lines" 'BEGIN { step = n > 12 ? n / 12 : 1 } int((NR - 1) / step) != int((NR - 2) / step) || NR == 1' \
    "$folder/sentences.tsv" >"$folder/dozen.tsv"

printf '\n%-22s %-8s %6s  %9s  %s\n' 'written in' answer score 'ms' sentence
tab=$(printf '\t')
while IFS=$tab read -r language sentence rest; do
    seconds=$(printf '%s' "$sentence" | curl -s -S -o "$folder/answer.json" -w '%{time_connect} %{time_total} %{http_code}' \
        --max-time 30 -H 'Content-Type: text/plain' --data-binary @- "$url/predictions/langid") || gave_up "a request failed"
    [ "${seconds##* }" = 200 ] || gave_up "status ${seconds##* }: $(cat "$folder/answer.json")"
    ms=$(echo "$seconds" | awk '{ printf "%.2f", ($2 - $1) * 1000 }')
    answer=$(tr -d '\n' <"$folder/answer.json")
    label=$(printf '%s' "$answer" | sed 's/.*"label": *"\([^"]*\)".*/\1/')
    score=$(printf '%s' "$answer" | sed 's/.*"score": *\([-+.eE0-9]*\).*/\1/' | awk '{ printf "%.3f", $1 }')
    printf '%-22s %-8s %6s  %9s  %s\n' "$language" "$label" "$score" "$ms" "$sentence"
done <"$folder/dozen.tsv"

cat <<END

== Try it
  curl -d 'Wo ist der Bahnhof?' -H 'Content-Type: text/plain' $url/predictions/langid
  curl -d '{"inputs": ["good morning", "buenos dias"]}' -H 'Content-Type: application/json' $url/predictions/langid
  curl http://127.0.0.1:$management/models/langid
  curl -X POST 'http://127.0.0.1:$management/models?url=identity&model_name=echo&initial_workers=1'
  curl http://127.0.0.1:$metrics/metrics

== Look at
  ps -ef | grep '[s]conce: '              who is who: supervisor, frontend, one executor per model
  kill -9 of the executor or the frontend, then ask again: nothing is lost
  models/demo-langid/README.md            what the model knows, and what it was made of
  docs/                                   how to run, how it is built, how fast it is
END

[ "$once" = 0 ] || exit 0
printf '\n== serving until Ctrl-C\n'
wait "$server" || gave_up "the server ended"
