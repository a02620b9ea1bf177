#!/bin/sh
# Runs every bench program; fails when one misses its bar.
cd "$(dirname "$0")" || exit 1
missed=0
for program in start compile growth step run kube; do
  /usr/bin/python3 "$program.py" || missed=1
done
for script in *_bench.lua; do
  [ -e "$script" ] || continue
  ../../build/release/kfhost "$script" || missed=1
done
exit "$missed"
