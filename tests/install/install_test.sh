#!/bin/sh
# The installed binary: it is there, it runs by itself, and it does not name where it was built. TAP.
set -u
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
. tests/support/tap.sh

cmake --install build/release --prefix "$prefix" >/dev/null
result "cmake --install succeeds" $?

(cd / && env -i "$prefix/bin/kfhost" -e 'print(require "json".encode{1})') | grep -qx '\[1\]'
result "the installed binary runs scripts with an empty environment from another directory" $?

for directory in "$(pwd -P)/" "$HOME/"; do
  [ "${#directory}" -gt 4 ] || continue # "/" and the like are in every program
  ! grep -qaF "$directory" "$prefix/bin/kfhost"
  result "the binary does not contain $directory" $?
done

! readelf -d "$prefix/bin/kfhost" | grep -qE 'R(UN)?PATH'
result "the binary has no run path" $?

finish
