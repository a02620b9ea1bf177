-- The line editor without a terminal: what keys do to a line, how it is drawn, history, completion.
local test = require "test"
local complete = require "repl.complete"
local draw = require "repl.draw"
local history = require "repl.history"
local line = require "repl.line"
local support = dofile "tests/lua/support/repl.lua"

-- A line after keys: names in <>, the rest is typed.
local function typed(keys, start)
  local l = line.new(start)
  for name, text in keys:gmatch "<([^>]+)>([^<]*)" do
    if name ~= "." then l:key(name) end
    for c in text:gmatch(utf8.charpattern) do l:key("text", c) end
  end
  return l.text:sub(1, l.cursor - 1) .. "|" .. l.text:sub(l.cursor)
end

test("the keys of emacs move and change", function()
  test.equal(typed "<.>pods<C-a>x <C-e>!", "x pods!|")
  test.equal(typed "<.>one two<M-b><M-d>three", "one three|")
  test.equal(typed "<.>one two<C-w><C-y><C-y>", "one twotwo|")
  test.equal(typed "<.>one two<C-u>x<C-y>", "xone two|")
  test.equal(typed "<.>abc<Left><Left><C-k>", "a|")
  test.equal(typed "<.>abc<Left><Delete><Backspace>", "a|")
  test.equal(typed "<.>ab<C-t>", "ba|")
  test.equal(typed "<.>abc<C-w><C-_>", "abc|")
  test.equal(typed "<.>a.b c<M-b><M-b><M-b><M-f>-", "a-|.b c")
  test.equal(typed("<C-a>x<End>y", "a\nb"), "a\nxby|")
  test.equal(line.new():key "F12", false)
end)

test("a character of several code points is one step", function()
  test.equal(typed "<.>ae\u{301}b<Left><Backspace>", "a|b")
  test.equal(typed "<.>日本<Left>x", "日x|本")
  test.equal(typed "<.>\u{1F44D}\u{1F3FD}<Backspace>", "|")
end)

test("rows wrap at the width of characters, and the cursor is where the next one comes", function()
  local function rows(text, cursor, columns, suggestion)
    local list, at = draw.rows {
      prompt = "> ", text = text, cursor = cursor, columns = columns, suggestion = suggestion,
    }
    return { table.concat(list, "/"), at.row, at.column }
  end
  test.same(rows("abc", 4, 10), { "> abc", 1, 5 })
  test.same(rows("abcdef", 7, 4), { "> ab/cdef/", 3, 0 })
  test.same(rows("日本語", 10, 7), { "> 日本/語", 2, 2 })
  test.same(rows("a\nb", 2, 7), { "> a/b", 1, 3 })
  test.same(rows("po", 3, 20, "ds -A"), { "> pods -A", 1, 4 })
end)

test("of a text that is higher than the screen the rows around the cursor are drawn", function()
  local lines = {}
  for i = 1, 10000 do lines[i] = "line " .. i end
  local text = table.concat(lines, "\n")
  local function rows(cursor)
    local list, at = draw.rows { prompt = "> ", text = text, cursor = cursor, columns = 20, height = 4, indent = ">> " }
    return { list[1], list[#list], #list, at.row }
  end
  test.same(rows(1), { "> line 1", ">> line 4", 4, 1 })
  test.same(rows(#text + 1), { ">> line 9997", ">> line 10000", 4, 4 })
  test.same(rows(text:find "line 500\n"), { ">> line 498", ">> line 501", 4, 3 })
  local long = draw.rows { prompt = "> ", text = ("x"):rep(100000), cursor = 50000, columns = 80, height = 24 }
  test.equal(#long, 24)
end)

test("tabs and what moves a cursor are drawn as wide as they count; a prompt leaves room", function()
  local list, at = draw.rows { prompt = "> ", text = "a\tb\27", cursor = 4, columns = 40 }
  test.same({ list[1], at.column }, { "> a  b?", 6 })
  list = draw.rows { prompt = "a-context:a-namespace> ", text = "pods", cursor = 1, columns = 20 }
  test.equal(list[1], "> pods")
end)

test("a redraw goes to the first row, clears, and comes back to the cursor", function()
  test.equal(draw.redraw({ row = 2, column = 0 }, { "> ab", "cd" }, { row = 1, column = 3 }),
    "\r\27[1A\27[J> ab\r\ncd\27[1A\r\27[3C")
end)

test("the menu shows what fits, with the chosen candidate in sight", function()
  local names = {}
  for i = 1, 40 do names[i] = ("name-%02d"):format(i) end
  local lines = draw.menu(names, 39, 20, 3)
  test.same(lines, { "name-35  name-36", "name-37  name-38", "name-39  name-40", "(40 candidates)" })
end)

test("history suggests, steps by prefix, searches, and holds a line once", function()
  local h = history.new { "pods", "ns a", "pods -A", "ns b", "pods" }
  test.same(h.lines, { "ns a", "pods -A", "ns b", "pods" })
  test.equal(h:suggest "po", "pods")
  test.equal(h:suggest "pods", "pods -A")
  test.equal(h:suggest "", nil)
  test.same({ h:step("ns", 5, -1) }, { 3, "ns b" })
  test.same({ h:step("ns", 3, -1) }, { 1, "ns a" })
  test.same({ h:step("ns", 1, -1) }, {})
  test.same({ h:search("-A", 5) }, { 2, "pods -A" })
end)

test("secrets and lines after a blank are not kept; the file is its owner's", function()
  for _, kept in ipairs { "pods", "get secrets", "secrets yaml", "x = token_file", "get secret db",
    "tree secret/db", "used-by secret/db-password", "describe secret/token", "can-i get secrets", "pods -l tier=web",
    "why pod/basic-auth-proxy", "get sa", "!grep -u x", "ns password-store" } do
    if not history.may_keep(kept) then error(kept, 0) end
  end
  for _, lost in ipairs { " pods", "", "token = 'abc'", 'x = {password="x"}', "!curl -H 'Bearer: abc'",
    "login password 12x4", "!kubectl create secret generic x --from-literal=pw=hunter", "curl -u me:hunter x",
    "!mysql --password hunter", "DB_PASS=hunter", "x = 'https://me:hunter@example.org'", "apply { stringData = {} }",
    "y = 'eyJhbGciOi.eyJzdWIi.x'", "!export AWS=AKIAIOSFODNN7EXAMPLE", "!gh auth --with-token ghp_abcdefgh1234",
    "x['password'] = 'p'", "Authorization: Basic dXNlcjpw", "pwd = 'x'", "passphrase: x" } do
    if history.may_keep(lost) then error(lost, 0) end
  end
  local path = test.tmpdir() .. "/deep/history"
  local h = history.load(path)
  h:add "pods"
  h:add "for i = 1, 2 do\nprint(i)\nend"
  h:add "secret = 'x'"
  test.same(history.load(path).lines, { "pods", "for i = 1, 2 do\nprint(i)\nend" })
  test.equal(require("fs").stat(path).mode & 511, 384)
end)

test("a history's file does not grow for ever", function()
  local path, lines = test.tmpdir() .. "/history", {}
  for i = 1, 4500 do lines[i] = "line " .. i end
  require("fs").write(path, table.concat(lines, "\n") .. "\n")
  test.equal(#history.load(path).lines, 2000)
  local _, kept = require("fs").read(path):gsub("\n", "")
  test.equal(kept, 2000)
  test.equal(history.load(path).lines[2000], "line 4500")
end)

-- What Tab offers after a text; what comes from the cluster is asked for in the background.
local function offered(r, text)
  complete.at(r.session, text, #text + 1)
  test.advance(0.001)
  local from, names = complete.at(r.session, text, #text + 1)
  return text:sub(1, from - 1) .. "{" .. table.concat(names, " ") .. "}"
end

test("words, kinds, names, namespaces, labels and flags are completed from caches", function()
  local r = support.new()
  r:make(support.pod("web-1", { labels = { app = "web" } }))
  r:make(support.pod("web-2", { namespace = "team" }))
  r.session:client()
  test.equal(offered(r, "exp"), "{experiment experiments}")
  test.equal(offered(r, ":sav"), "{:save}")
  test.equal(offered(r, "get statef"), "get {statefulsets}")
  test.equal(offered(r, "pods we"), "pods {web-1}")
  test.equal(offered(r, "pods -n team we"), "pods -n team {web-2}")
  test.equal(offered(r, "ns te"), "ns {team}")
  test.equal(offered(r, "pods -l ap"), "pods -l {app=}")
  test.equal(offered(r, "pods -l app="), "pods -l {app=web}")
  test.equal(offered(r, "pods -l x=y,ap"), "pods -l {x=y,app=}")
  test.equal(offered(r, "logs web-1 ma"), "logs web-1 {main}")
  test.equal(offered(r, "exec web-1 -c "), "exec web-1 -c {main}")
  test.equal(offered(r, "pods -o kya"), "pods -o {kyaml}")
  test.equal(offered(r, "can-i del"), "can-i {delete deletecollection}")
  test.equal(offered(r, "can-i delete statefuls"), "can-i delete {statefulsets}")
  test.equal(offered(r, "?pods.spec.nodeS"), "?pods.spec.{nodeSelector}")
  test.equal(offered(r, "?po.spec.containers.imagePullP"), "?po.spec.containers.{imagePullPolicy}")
  r:type "pods"
  test.equal(offered(r, "pods --sort -re"), "pods --sort {-readinessgates -ready -restarts}")
  test.equal(offered(r, "describe pod/w"), "describe {pod/web-1}")
  test.equal(offered(r, "logs --t"), "logs {--tail --timestamps}")
  test.equal(offered(r, "?statef"), "?{statefulsets}")
  test.equal(offered(r, "1,2 desc"), "1,2 {describe}")
  local folder = test.tmpdir()
  require("fs").write(folder .. "/notes.txt", "")
  test.equal(offered(r, "pods > " .. folder .. "/no"), "pods > {" .. folder .. "/notes.txt}")
  test.equal(offered(r, "!cat " .. folder .. "/no"), "!cat {" .. folder .. "/notes.txt}")
  test.equal(offered(r, "pods | cat " .. folder .. "/no"), "pods | cat {" .. folder .. "/notes.txt}")
  assert(offered(r, "!ls"):find "[{ ]!ls[ }]" and offered(r, "pods | gre"):find "[{ ]grep[ }]")
end)

test("Lua is completed without calling anything: globals, fields, methods, fields of live objects", function()
  local r = support.new()
  r:make(support.pod "web-1")
  test.equal(offered(r, "string.rep"), "string.{rep}")
  r:type "pods\nx = _[1]\nx.spec"
  test.equal(offered(r, "y = x.spec.nodeSel"), "y = x.spec.{nodeSelector}")
  test.equal(offered(r, "y = x.spec.contai"), "y = x.spec.{containers}")
  test.equal(offered(r, "s = 'a'\nrequ"), "s = 'a'\n{require}")
  test.equal(offered(r, "settings.wri"), "settings.{writable}")
end)
