-- The words of the REPL that read a cluster, over a lab in this process.
local test = require "test"
local support = dofile "tests/lua/support/repl.lua"

local function with_pods()
  local r = support.new()
  r:make(support.pod("web-1", { labels = { app = "web" }, status = { phase = "Running" } }))
  r:make(support.pod("web-2", { labels = { app = "web" } }))
  r:make(support.pod("db-1", { namespace = "team", labels = { app = "db" } }))
  return r
end

test("pods are a table of the server with numbered rows", function()
  local r = with_pods()
  test.equal(r:type "pods", [[
#  NAME   READY  STATUS   RESTARTS  AGE
1  web-1  0/1    Running  0         0s
2  web-2  0/1    Pending  0         0s
]])
  test.equal(r:type "pods -A name", "pods/web-1\npods/web-2\npods/db-1\n")
  assert(r:type "pods -A":find "\n3  team       db%-1")
  test.equal(r:type "pods -n nowhere", "no pods in nowhere\n")
end)

test("what was shown is a Lua value, and its rows are picked by number", function()
  local r = with_pods()
  r:type "pods"
  test.equal(r:type "#_, _[2].name, _[1].status.phase, _1[1].ready", "2\tweb-2\tRunning\t0/1\n")
  r:type "pods -A"
  test.equal(r:type "2..3 get name" ~= "", true)
  test.equal(r:type ":rows 1" ~= "", true)
  assert(r:type "4 describe":find "there is no row 4; rows 1 to 3")
  assert(r:type "3 get":find "name: db%-1")
  assert(r:type "3..1 get":find "'3..1' is no row")
  assert(r:type "rows('x')":find "'x' is no row")
end)

test("rows of kinds of the cluster are objects, too, each fetched when it is first looked into", function()
  local r = with_pods()
  test.equal(r:type "get ns team\n_[1].metadata.name, _[1].namespace":match "\nteam.*$", "\nteam\tnil\n")
  assert(r:type "get ns team\n1 get":find "kind: Namespace")
  local asked, transport = 0, r.client.transport
  r.client.transport = { request = function(_, options)
    asked = asked + 1
    return transport:request(options)
  end }
  local browser = require "repl.browser"
  local state = browser.new "namespaces"
  browser.take(state, r.session.environment.get "ns")
  test.equal(browser.frame(state, 60, 10)[3]:match "%S+", "default")
  test.equal(asked, 1)
end)

test("rows are filtered by regular expression, label, Lua, and sorted by numbers and ages", function()
  local r = with_pods()
  test.equal(r:type "get pods -A /^team name", "pods/db-1\n")
  test.equal(r:type "get pods -A name !/web", "pods/db-1\n")
  test.equal(r:type "pods -A -l app=web name", "pods/web-1\npods/web-2\n")
  test.equal(r:type "pods -A name --fuzzy d1", "pods/db-1\n")
  test.equal(r:type [[pods name --where "o.status.phase == 'Running'"]], "pods/web-1\n")
  test.equal(r:type "pods name --sort -name", "pods/web-2\npods/web-1\n")
  assert(r:type "pods --sort colour":find "there are name, ready, status")
  test.equal(r:type "#pods():where(function(p) return p.name ~= 'web-1' end)", "1\n")
end)

test("sorting knows numbers, ages and quantities", function()
  local listing = require "repl.listing"
  local columns = { { name = "Name" }, { name = "Age" }, { name = "Size" }, { name = "N" } }
  local l = listing.new { kind = "x", columns = columns,
    rows = { { cells = { "a", "3d4h", "1Gi", 10 } }, { cells = { "b", "95s", "512Mi", 9 } },
      { cells = { "c", "2h", "2Gi", 100 } } } }
  local function order(title) return table.concat(l:sorted(title):names()) end
  local orders = { order "age", order "-age", order "size", order "n", order "-name" }
  test.same(orders, { "bca", "acb", "bac", "bac", "cba" })
end)

test("forms of output: yaml, json, csv, jsonpath, columns by path", function()
  local r = with_pods()
  assert(r:type "pods web-1 yaml":find "^apiVersion: v1\nkind: Pod\n")
  assert(not r:type "pods web-1 yaml":find "managedFields")
  assert(r:type "get pods -A json":find '^%[\n  {\n    "apiVersion": "v1"')
  test.equal(r:type "pods -o jsonpath={.metadata.name}", "web-1\nweb-2\n")
  local columns = r:type "pods --columns N:.metadata.name,.status.phase --no-header"
  test.equal(columns, "1  web-1  Running\n2  web-2  Pending\n")
  assert(r:type "pods csv":find "^NAME,READY,STATUS")
end)

test("namespaces, contexts and rights", function()
  local r = with_pods()
  test.equal(r:type "ns", "default\n")
  test.equal(r:type "ns team", "namespace team\n")
  test.equal(r:type "pods name", "pods/db-1\n")
  test.equal(r:type ":ns -\nns", "namespace default\ndefault\n")
  assert(r:type "ns nowhere":find "there is no namespace 'nowhere'")
  assert(r:type "can-i delete pods":find "^yes")
  assert(r:type "whoami":find "^kubernetes%-admin\n")
  assert(r:type "ctx":find "lab")
end)

test("several kinds are a table each", function()
  local r = with_pods()
  r:make { apiVersion = "v1", kind = "Service", metadata = { name = "web", namespace = "default" },
    spec = { selector = { app = "web" }, ports = { { port = 80 } } } }
  local text = r:type "get pods,svc,cm"
  assert(text:find "^pods\nNAME%s+READY[^\n]*\nweb%-1" and text:find "\n\nservices\nNAME%s+TYPE.-\nweb", text)
  test.equal(r:type "get pods,svc name", "pods/web-1\npods/web-2\nservices/kubernetes\nservices/web\n")
  assert(r:type "get all":find "\nservices\n")
  test.equal(r:type "#_[1], _[2][2].name", "2\tweb\n")
  test.equal(r:type "get pods,svc -n team -l app=none", "nothing is there\n")
end)

test("errors name what is near and who was refused", function()
  local r = with_pods()
  assert(r:type "get pdos":find "did you mean pods")
  assert(r:type "pods web-3":find "web%-3")
  assert(r:type ":pdos":find "did you mean pods")
end)

test("%trace shows each request", function()
  local r = with_pods()
  assert(r:type "%trace pods":find "^GET /api/v1/namespaces/default/pods%?includeObject=None 200 %d+ bytes")
  assert(r:type "%time 1 + 1":find "^2\n%d+%.%d+ s")
end)
