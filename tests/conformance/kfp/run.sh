#!/bin/sh
# The judge of KFP servers against a lab's: run.sh KFHOST PYTHON (one that has the KFP SDK).
set -eu
here=$(dirname "$0")
root=$(mktemp -d)
mkfifo "$root/said"
"$1" lab up --kubeflow --kfp single --nodes 0 --kubeconfig "$root/kubeconfig" --json >"$root/said" 2>"$root/log" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" || true; rm -rf "$root"' EXIT
read -r said <"$root/said"
endpoint=$(printf '%s' "$said" | sed -n 's|.*"kfp":"\([^"]*\)".*|\1|p')
code=0
KFP_ENDPOINT="$endpoint" KFP_DRIVE=self timeout 300 "$2" "$here/judge.py" >"$root/judged" 2>&1 || code=$?
cat "$root/judged"
[ "$code" -eq 0 ] || cat "$root/log"
# "N/M checks hold" as the sums that ./dev counts.
tail -n 1 "$root/judged" | sed -n 's|^\([0-9]*\)/\([0-9]*\) checks hold$|\1 \2|p' |
  { read -r held all && echo "$held passed, $((all - held)) failed"; }
exit "$code"
