#!/bin/sh
# What `dev` installs, and how: with stand-ins for the programs that would change the machine. TAP.
set -u
root=$(pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0
failed=0

# stub NAME: a program whose body comes on standard input; each call is noted in $work/calls.
stub() {
  { echo '#!/bin/sh'; echo "echo \"$1 \$*\" >>'$work/calls'"; cat; } >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}

# A copy of dev among stand-ins: Debian's gcc and npm are missing, the user is root, another npm is there.
set_up() {
  rm -rf "${work:?}"/*
  mkdir -p "$work/bin" "$work/modules/pyast/node_modules"
  : >"$work/calls"
  cp "$root/dev" "$work/dev"
  : >"$work/modules/pyast/package-lock.json"
  for tool in sh dirname grep touch cat; do ln -s "$(command -v "$tool")" "$work/bin/$tool"; done
  stub dpkg-query <<'STUB'
for package; do :; done
case $package in gcc | npm) ;; *) echo installed ;; esac
STUB
  stub apt-get </dev/null
  stub cmake </dev/null
  stub npm </dev/null
  stub env <<'STUB'
shift
exec "$@"
STUB
  echo 'echo 0' | stub id
}

build() { (cd "$work" && PATH=$work/bin ./dev build) >"$work/output" 2>&1; }

# result DESCRIPTION STATUS
result() {
  number=$((number + 1))
  if [ "$2" -eq 0 ]; then echo "ok $number - $1"
  else
    echo "not ok $number - $1"
    sed 's/^/  # /' "$work/output" "$work/calls"
    failed=1
  fi
}

called() { grep -qx "$1" "$work/calls"; }

set_up
build && called 'apt-get update -q' &&
  called 'apt-get install -q -y --no-install-recommends gcc'
result "root installs what is missing, and nothing else" $?

called 'npm ci --ignore-scripts .*' && called 'cmake --build build/release'
result "the npm on PATH fetches the grammar, then all is built" $?

set_up
rm "$work/bin/npm"
build
called 'apt-get install -q -y --no-install-recommends gcc npm'
result "without an npm on PATH, Debian's is installed" $?

set_up
stub dpkg-query <<'STUB'
echo installed
STUB
build && ! grep -q '^apt-get' "$work/calls"
result "where all is there, apt is not asked" $?

set_up
echo 'echo 1000' | stub id
stub sudo <<'STUB'
exec "$@"
STUB
build && called 'sudo apt-get update -q' && called 'sudo env .* apt-get install .* gcc'
result "other users install through sudo" $?

set_up
echo 'echo 1000' | stub id
! build && ! grep -q '^apt-get' "$work/calls" &&
  grep -q 'as root run: apt-get update && apt-get install -y --no-install-recommends gcc$' "$work/output"
result "without sudo, the one command is said" $?

echo "1..$number"
exit "$failed"
