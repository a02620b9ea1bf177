#!/bin/sh
# The packages: the .deb is built, installed and run; the bundle runs in a root directory without a libc. TAP.
#   ./dev package first; sh tests/package/package_test.sh
set -u
cd "$(dirname "$0")/../.."
build=build/release
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
. tests/support/tap.sh

# --- the Debian package --------------------------------------------------------------------------

deb=$(ls "$build"/kfhost_*_amd64.deb)
dpkg-deb -f "$deb" Depends | grep -q 'libcurl4' && dpkg-deb -f "$deb" Depends | grep -q 'libssl3'
result "the package says what it needs, libcurl too" $?

linked=$(objdump -p "$build/kfhost" | sed -n 's/ *NEEDED *//p' | grep -vE '^(libc|libm|libssl|libcrypto|ld-linux-x86-64)\.so')
[ -z "$linked" ]
result "nothing else is linked that a package would have to name" $?

# Into a root of its own: this machine's packages stay as they are.
root=$folder/root
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
: >"$root/var/lib/dpkg/status"
dpkg --root="$root" --log=/dev/null --force-not-root --force-depends --force-bad-path -i "$deb" >"$folder/log" 2>&1
result "it is installed" $?
[ "$(dpkg-query --root="$root" -W -f '${db:Status-Status}' kfhost)" = installed ]
result "dpkg knows that it is" $?

(cd / && env -i PATH=/usr/bin:/bin "$root/usr/bin/kfhost" version) | grep -q '^kfhost 0'
result "the installed program runs" $?
(cd / && "$root/usr/bin/kfhost" kale compile "$root/usr/share/doc/kfhost/examples/notebooks/digits.ipynb" -o "$folder/p.yaml") >/dev/null
result "it compiles the notebook that comes with it" $?
(cd / && PYTHONDONTWRITEBYTECODE= PYTHONPATH=$root/usr/lib/python3/dist-packages /usr/bin/python3 -c 'import kfhost; kfhost.load_ipython_extension')
result "the extension for Jupyter comes with it" $?
# Its script is run here, since the root has no shell.
dpkg --root="$root" --log=/dev/null --force-not-root --force-bad-path --force-script-chrootless -P kfhost \
  >>"$folder/log" 2>&1
[ $? -eq 0 ] && [ -z "$(find "$root" -name '*kfhost*')" ] && [ ! -e "$root/usr/lib/python3" ]
result "it goes without a trace, what Python has compiled included" $?

# --- the bundle ------------------------------------------------------------------------------------

bare=$folder/bare
mkdir -p "$bare/dev" "$bare/tmp"
: >"$bare/dev/null"
tar -xzf "$(ls "$build"/kfhost-*-linux-*.tar.gz)" -C "$bare"
program=$(cd "$bare" && ls -d kfhost-*)/bin/kfhost
cp examples/notebooks/digits.ipynb "$bare/tmp/"
if [ "$(id -u)" -eq 0 ]; then enter="chroot $bare"; else enter="unshare -r chroot $bare"; fi

$enter "/$program" version | grep -q '^kfhost 0'
result "the bundle runs where there is no libc" $?
$enter "/$program" kale compile /tmp/digits.ipynb -o /tmp/p.yaml >/dev/null && cmp -s "$bare/tmp/p.yaml" "$folder/p.yaml"
result "and compiles a notebook to the same bytes" $?
$enter "/$program" -e 'local _, e = require("http").try.request { url = "http://127.0.0.1:9" } print(e.code)' \
  | grep -qx Connection
result "it brings libcurl" $?
$enter "/$program" -e 'print(require("proc").run { require("host").executable(), "version" }.stdout)' | grep -q '^kfhost 0'
result "it finds itself, to start itself again" $?
"$bare/$program" -e 'print(require("host").executable())' | grep -qx "$bare/$program"
result "it runs beside a libc too, under its own path" $?

# --- the image -------------------------------------------------------------------------------------

copied=$(sed -n 's/^COPY \([^ ]*\) .*/\1/p' packaging/Dockerfile)
[ -f "$build/$copied" ]
result "the Dockerfile copies what was built" $?

finish
