-- What was typed as a script, and lines from a pipe: the real program with a lab of its own.
local test = require "test"
local fs = require "fs"
local host = require "host"
local proc = require "proc"

-- What the program says to lines, in a home of its own.
local function typed(home, lines, more)
  local command = { host.executable(), "--lab", "-i", stdin = lines, cwd = home, timeout = 120,
    env = { HOME = home, XDG_CONFIG_HOME = home, TERM = "xterm", NO_COLOR = "" } }
  for key, value in pairs(more or {}) do command[key] = value end
  return proc.run(command)
end

local LINES = [[
apply -f site.yaml -y
get cm -l app=x
1 get name
1,2 get
#_
_2[1].name
x = _2[2].data
function double(n)
  return 2 * n
end
double(#x.k)
return 5
pods | grep pods
get cm -l app=x name > names
nope(
)
get cm a yaml > a.yaml
:lua get cm
%time 1
ns kube-system
ns
]]

local SITE = [[
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {app: x}}
data: {k: one}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, labels: {app: x}}
data: {k: three}
]]

-- Without what differs from run to run.
local function masked(text)
  return (text:gsub('get%("cm"%)\n', ""):gsub("%d+%.%d+", "N")
    :gsub("%s%d+s\n", " AGE\n"):gsub("%d%d%d%d%-%d%d%-%d%dT[%d:]+Z", "TIME")
    :gsub('resourceVersion: "%d+"', "VERSION"):gsub("%x+%-%x+%-%x+%-%x+%-%x+", "UID")
    :gsub("%d+ statements[^\n]*\n", ""))
end

test("what was typed is saved as a script, which does and prints the same in another lab", function()
  local home = test.tmpdir()
  fs.write(home .. "/site.yaml", SITE)
  local first = typed(home, LINES .. ":save day.lua\n")
  test.equal(first.code, 0, first.stderr)
  assert(first.stdout:find "\na  *1" or first.stdout:find "1  a", first.stdout)
  assert(first.stdout:find "configmaps/a\n" and first.stdout:find "\n10\n5\n", first.stdout)
  local names = fs.read(home .. "/names")
  test.equal(names, "configmaps/a\nconfigmaps/b\n")
  fs.remove(home .. "/names")
  local second = typed(home, nil, { host.executable(), "--lab", "day.lua" })
  test.equal(second.code, 0, second.stderr)
  test.equal(masked(second.stdout), masked(first.stdout))
  test.equal(fs.read(home .. "/names"), names)
end)

test("lines from a pipe give the same plain text each time, and the code of the last one", function()
  local home = test.tmpdir()
  local lines = "pods -A\nget ns name\nns nowhere\n1 + 1\nget ns yaml | head -2\n"
  local first, second = typed(home, lines), typed(home, lines, { env = { HOME = home, TERM = "xterm-256color" } })
  test.equal(first.stdout, second.stdout)
  test.equal(first.code, 0)
  assert(not (first.stdout .. first.stderr):find "\27", first.stdout)
  test.equal(typed(home, "1\nget nothing at all\n").code, 1)
  test.equal(typed(home, "!exit 7\n").code, 7)
  test.equal(typed(home, "pods --nonsense\n").code, 2)
  test.equal(typed(home, nil, { host.executable(), "--lab", "-c", "!exit 7" }).code, 7)
  test.equal(typed(home, nil, { host.executable(), "--lab", "--profile", "vsphere", "-c", "get sc name" }).code, 0)
end)

test("with its standard input closed the program ends", function()
  local home = test.tmpdir()
  local closed = proc.run { shell = ("'%s' -i <&-"):format(host.executable()), env = { HOME = home }, timeout = 60 }
  test.equal(closed.code, 0)
end)
