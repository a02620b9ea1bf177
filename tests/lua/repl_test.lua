-- The REPL without a terminal: the rule of words and Lua, each word's Lua, values as texts, statements.
local test = require "test"
local evaluate = require "repl.evaluate"
local json = require "json"
local show = require "repl.show"
local support = dofile "tests/lua/support/repl.lua"
local vocabulary = require "repl.vocabulary"
local words = require "repl.words"

-- --- words or Lua -----------------------------------------------------------------------------------------

local WORDS = {
  ":help", "!ls -l",
  "?pods", "?pods.spec.containers", "%time pods", "f??", "=f??", "pods", "  pods  ", "pods wide",
  "pods -n team-a", "pods --sort age", "pods | less", "pods > file", "3 logs -f", "1,4..6 describe", "12 describe yaml",
  "can-i get pods", "used-by pvc/data", "why pod/x", "injected? web", "describe pod/x", 'get pods "a b"', "ns team-a",
  "pods # x", "tree job/y", ":pods == 3", "get pods andromeda", "pods andy", "1..3 yaml pods",
}
local LUA = {
  "pods.x", "pods:where(f)", "pods()", "pods [1]", "pods = 3", "pods, x = 1, 2", "pods == 3", "pods ~= nil",
  "pods .. 'x'", "pods - 3",
  "pods-3", "pods + 1", "pods / 2", "pods|less", "pods>file", "pods >= 3", "pods >> 2", "pods % 2",
  "pods and 3", "pods or nil", "=pods", "= 1 + 1", "podsx", "x", "3", "3 + 4", "1,2", "1..2", "return 3", "::label::",
  "get /api", "ns .x", "can - i", "3 foo", "for i = 1, 3 do print(i) end", "pods & 1",
}

test("a line is words or Lua exactly by the rule", function()
  local v = vocabulary.new()
  for _, line in ipairs(LUA) do
    if v:kind(line) ~= "lua" then error("taken for words: " .. line, 0) end
  end
  for _, line in ipairs(WORDS) do
    local expected = (line == "=f??" or line == "1..3 yaml pods") and "lua" or "words"
    if v:kind(line) ~= expected then error(("%s: got %s"):format(line, v:kind(line)), 0) end
  end
  test.equal(v:kind "  ", "empty")
end)

test("words are taken apart as a shell does; | and > after a blank end them", function()
  local list, pipe, file = words.split [[a 'b c' "d\"e" f\ g h|i j>k]]
  test.same(list, { "a", "b c", 'd"e', "f g", "h|i", "j>k" })
  test.equal(pipe or file, nil)
  list, pipe = words.split "a | grep 'x y' | sort"
  test.same({ list, pipe }, { { "a" }, "grep 'x y' | sort" })
  list, pipe, file = words.split "a > 'my file'"
  test.same({ list, pipe == nil, file }, { { "a" }, true, "my file" })
  test.raises("Usage", function() words.split "a 'b" end)
  test.raises("Usage", function() words.split "a > b c" end)
  test.raises("Usage", function() words.split "a |" end)
end)

-- --- each word and its Lua ------------------------------------------------------------------------------------

local EQUIVALENTS = {
  ["pods"] = "pods()",
  ["pods -n team-a -l app=x wide"] = 'pods({labels = "app=x", namespace = "team-a", output = "wide"})',
  ["po -A"] = 'pods({namespace = "*"})',
  ["get pods /^web !/canary ~wb"] = 'get("pods", {fuzzy = "wb", match = "^web", without = "canary"})',
  ["pods --match ^web --without=x --fuzzy wb"] = 'pods({fuzzy = "wb", match = "^web", without = "x"})',
  ["pods --sort=-age --limit 5"] = 'pods({limit = 5, sort = "-age"})',
  ["pods -nteam"] = 'pods({namespace = "team"})',
  ["pods -o jsonpath={.spec.nodeName}"] = 'pods({output = "jsonpath={.spec.nodeName}"})',
  ["get pvc data yaml"] = 'get("pvc", "data", {output = "yaml"})',
  ["get yaml"] = 'get("yaml")',
  ["pods yaml"] = 'pods({output = "yaml"})',
  ["3 logs -f"] = 'logs(rows("3"), {follow = true})',
  ["1,4..6 describe"] = 'describe(rows("1,4..6"))',
  ["logs web main --tail 20 --since 5m --grep err"] =
    'logs("web", "main", {grep = "err", since = "5m", tail = 20})',
  ["logs web | grep x"] = 'pipe("grep x", function() logs("web") end)',
  ["logs -f web > file"] = 'redirect("file", function() logs("web", {follow = true}) end)',
  ["watch pods | cat"] = 'pipe("cat", function() return watch("pods") end)',
  ["1,2 get name"] = 'get(rows("1,2"), {output = "name"})',
  ["why pod/x"] = 'why("pod/x")', ["tree job/y"] = 'tree("job/y")', ["used-by pvc/data"] = 'used_by("pvc/data")',
  ["watch pods --count 3"] = 'watch("pods", {count = 3})',
  ["pods -w"] = 'pods({watch = true})',
  ["can-i delete pods -n x"] = 'can_i("delete", "pods", {namespace = "x"})',
  ["whoami"] = "whoami()", ["ns"] = "ns()", ["ns team-a"] = 'ns("team-a")',
  [":ns -"] = 'ns("-")', ["ctx prod"] = 'ctx("prod")',
  ["edit cm/a"] = 'edit("cm/a")', ["apply -f ./x.yaml -y"] = 'apply({file = "./x.yaml", yes = true})',
  ["scale deploy/a 3"] = 'scale("deploy/a", "3")', ["restart deploy/a"] = 'restart("deploy/a")',
  ["2..3 delete"] = 'delete(rows("2..3"))', ["delete pod/a pod/b -y"] = 'delete("pod/a", "pod/b", {yes = true})',
  ["undo"] = "undo()", ["exec web ls -l /"] = 'exec("web", "ls", "-l", "/")',
  ["exec -c x web -- ls -l"] = 'exec("web", "ls", "-l", {container = "x"})',
  ["port-forward web 8080:80"] = 'port_forward("web", "8080:80")', ["forwards"] = "forwards()",
  ["profiles"] = "profiles()", ["runs"] = "runs()", ["run a graph"] = 'run("a", "graph")',
  ["experiments -n x"] = 'experiments({namespace = "x"})', ["experiment a plot"] = 'experiment("a", "plot")',
  ["trials"] = "trials()", ["notebooks"] = "notebooks()", ["doctor -n x"] = 'doctor({namespace = "x"})',
  ["allowed web -> api GET /x"] = 'allowed("web", "->", "api", "GET", "/x")', ["injected? web"] = 'injected("web")',
  ["?pods"] = 'explain("pods")', ["?pods.spec.containers | head"] = 'pipe("head", explain("pods.spec.containers"))',
  ["f.x??"] = 'source("f.x")', ["!ls -l | wc"] = 'shell("ls -l | wc")',
  ["pods | less -S"] = 'pipe("less -S", pods())',
  ["pods yaml > a.yaml"] = 'redirect("a.yaml", pods({output = "yaml"}))',
  ["%time pods"] = "time(function() return pods() end)", ["%trace x = 3"] = "trace(function() x = 3 end)",
  [":help"] = "help()", [":help pods"] = 'help("pods")', [":lua pods wide"] = 'equivalent("pods wide")',
  [":save a.lua"] = 'save_script("a.lua")', [":write 10m"] = 'writable("10m")', [":reload"] = "reload()",
  [":alias w pods -n web"] = 'alias("w", "pods -n web")', [":history x"] = 'history("x")',
  [":tasks"] = "tasks()", [":stop 2"] = 'stop("2")', [":copy"] = "copy()",
  [":bg wait pod/x Ready"] = 'bg("wait pod/x Ready", function() return wait("pod/x", "Ready") end)',
  [":bg x = 1"] = 'bg("x = 1", function() x = 1 end)', [":copy pods name"] =
    'copy("pods name", function() return pods({output = "name"}) end)',
  ["%timeit x = 1"] = "timeit(function() x = 1 end)",
  ["%trace 1"] = "trace(function() return 1 end)", ["%whos"] = "whos()", ["f??"] = 'source("f")',
  ["!ls -l"] = 'shell("ls -l")', ["?pods.spec"] = 'explain("pods.spec")', ["pods | less"] = 'pipe("less", pods())',
  ["patch deploy/a 'spec: {paused: true}' --type merge"] =
    'patch("deploy/a", "spec: {paused: true}", {type = "merge"})',
  ["label pod/a b=c d- -y"] = 'label("pod/a", "b=c", "d-", {yes = true})',
  ["annotate pod/a b='c d'"] = 'annotate("pod/a", "b=c d")',
  ["rollout undo deploy/a --to 3"] = 'rollout("undo", "deploy/a", {to = "3"})',
  ["cordon n1"] = 'cordon("n1")', ["uncordon n1"] = 'uncordon("n1")',
  ["drain n1 --timeout 1m -y"] = 'drain("n1", {timeout = "1m", yes = true})',
  ["wait pod/a Ready"] = 'wait("pod/a", "Ready")', ["top nodes"] = 'top("nodes")',
  ["cp web:/etc/hosts x -c main"] = 'cp("web:/etc/hosts", "x", {container = "main"})',
  ["pods -o custom-columns=N:.metadata.name"] = 'pods({columns = "N:.metadata.name"})',
  [":quit"] = "quit()",
  ["get pods 'a\"b'"] = 'get("pods", "a\\"b")',
}

test("each word line stands for its Lua", function()
  local v = vocabulary.new()
  for line, lua in pairs(EQUIVALENTS) do
    if v:kind(line) ~= "words" then error("taken for Lua: " .. line, 0) end
    test.equal(v:translate(line), lua)
    assert(load("return " .. lua), lua)
  end
end)

test("no word is left out of that table", function()
  local v, seen = vocabulary.new(), {}
  for line in pairs(EQUIVALENTS) do
    local text = line:gsub("^:", ""):gsub("^[%d,.]+ ", "")
    seen[words.leading(text, v.words) or ""] = true
  end
  local lists = {}
  for name, spec in pairs(v.words) do
    if not seen[name] then lists[#lists + 1] = name .. (spec.kind and "" or "!") end
  end
  for _, name in ipairs(lists) do -- the others list their kind, as pods does
    assert(not name:find "!", name .. " has no line")
    test.equal(v:translate(name .. " -n x"), name .. '({namespace = "x"})')
  end
end)

test("what no word is, and flags that a word has not, are told with what there is", function()
  local v = vocabulary.new()
  local function refused(line, pattern)
    local problem = test.raises("Usage", function() v:translate(line) end)
    assert(problem.message:find(pattern, 1, true), problem.message)
  end
  refused(":pdos", "did you mean pods")
  refused("why x --force", "it has -A, -n NAMESPACE")
  refused("pods -n", "needs a value")
  refused("logs x --tail many", "no number")
  refused("%fast pods", "%time, %timeit, %trace and %whos")
end)

test("an alias is a line that another may begin with, and never itself", function()
  local v = vocabulary.new()
  v:alias("team", "pods -n team")
  v:alias("bad", "team /Error")
  v:alias("wide", "pods wide")
  test.equal(v:translate "bad", 'pods({match = "Error", namespace = "team"})')
  test.equal(v:translate "wide", 'pods({output = "wide"})')
  test.equal(v:kind "bad", "words")
end)

test("every line of the guide is words that mean something", function()
  local v, count = vocabulary.new(), 0
  for row in require("fs").read("docs/guide/repl.md"):gmatch "\n| %l[^|]*|([^\n]*)|\n" do
    for line in row:gsub("\\|", "|"):gmatch "`([^`]+)`" do
      if v:kind(line) ~= "words" then error("not words: " .. line, 0) end
      assert(load("return " .. v:translate(line)), line)
      count = count + 1
    end
  end
  assert(count >= 12, count)
end)

-- What the terminal showed when the screens were taken, without its styles.
local function screens()
  local fs, plain, all = require "fs", dofile "tests/terminal/markup.lua".plain, {}
  for index, name in ipairs(fs.list "tests/golden/terminal") do
    all[index] = plain(fs.read("tests/golden/terminal/" .. name))
  end
  return "\n" .. table.concat(all, "\n")
end

test("what the guide shows is what a terminal showed", function()
  local shown, count = screens(), 0
  local guide = require("fs").read "docs/guide/repl.md"
  for block in guide:gmatch "\n```\n(.-\n)```\n" do
    block = block:gsub("(%s)%d+s\n", "%1AGE\n")
    if not shown:find("\n" .. block, 1, true) then error("no screen shows\n" .. block, 0) end
    count = count + 1
  end
  assert(count >= 8, count)
end)

-- --- values as texts ----------------------------------------------------------------------------------------------

test("values are shown as what they are", function()
  test.equal(show.value({ 1, 2, { a = true, ["b c"] = json.null } }), '{1, 2, {a = true, ["b c"] = null}}\n')
  test.equal(show.value({ { name = "b", x = 1 }, { name = "a", y = "z" } }), "NAME  X  Y\nb     1\na        z\n")
  test.equal(show.value({ apiVersion = "v1", kind = "Pod", metadata = { name = "a", managedFields = {} } }),
    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n")
  test.equal(show.values({ "a", nil, { 1 }, 3, n = 4 }), "a\tnil\n{1}\n3\n")
  local loop = {}
  loop[1] = loop
  test.equal(show.value(loop), "{{…}}\n")
  local tree = { text = "a", children = { { text = "b", children = { { text = "c" } } }, { text = "d" } } }
  test.equal(show.tree(tree), "a\n├─ b\n│  └─ c\n└─ d\n")
end)

test("nothing is shown with more lines than wanted, and how many are missing is said", function()
  local list = {}
  for i = 1, 1000 do list[i] = { name = "n" .. i } end
  local text = show.value(list, { lines = 3 })
  test.equal(text, "NAME\nn1\nn2\nn3\n… 997 more rows\n")
  test.equal(show.cut("a\nb\nc\nd\n", 2), "a\nb\n… 2 more lines\n")
  test.equal(show.cut("a\nb\n", 2), "a\nb\n")
  test.equal(show.cut("a\nb\nc", 2), "a\nb\n… 1 more line\n")
end)

-- --- statements ------------------------------------------------------------------------------------------------------

test("a statement goes on over lines until it is whole", function()
  local e = evaluate.new { environment = {} }
  test.equal(e:feed "for i = 1, 3 do", nil)
  test.equal(e:pending(), true)
  test.equal(e:feed "x = i", nil)
  local statement = e:feed "end"
  test.equal(statement.source, "for i = 1, 3 do\nx = i\nend")
  test.equal(e:run(statement).ok, true)
  test.equal(e.environment.x, 3)
  local _, problem = e:feed "x = = 2"
  assert(problem:find "unexpected symbol")
  test.equal(e:pending(), false)
end)

test("values stay as _ and by the number of their statement", function()
  local e = evaluate.new { environment = setmetatable({}, { __index = _G }) }
  e:run(e:feed "40 + 1")
  e:run(e:feed "y = 3")
  e:run(e:feed "_ + 1")
  test.same({ e.environment._, e.environment._1, e.environment._2, e.environment._3 }, { 42, 41, nil, 42 })
  test.equal(e:run(e:feed "error 'no'").ok, false)
end)

test("of large lists only the last are kept, and one that was given up says so", function()
  local r = support.new()
  r:type "small = 1; return 'text'"
  for _ = 1, 4 do r:type "(function() local t = {} for i = 1, 6000 do t[i] = i end return t end)()" end
  test.equal(r.session.environment._1, "text")
  test.same({ #r.session.environment._4, #r.session.environment._5, #r.session.environment._ }, { 6000, 6000, 6000 })
  local problem = select(2, pcall(function() return r.session.environment._2 end))
  assert(tostring(problem):find("_2 had 6000 rows and was given up", 1, true), tostring(problem))
end)

test("a line of Lua that cannot be read says how to read it as words", function()
  local e = evaluate.new { environment = {}, vocabulary = vocabulary.new() }
  local _, problem = e:feed "apply ./x.yaml"
  assert(problem:find(":apply ./x.yaml", 1, true), problem)
end)

-- --- sessions: over a lab --------------------------------------------------------------------------------------

test("a text of several lines is taken apart as if they came one by one; one statement stays one", function()
  local e = evaluate.new { environment = {}, vocabulary = vocabulary.new() }
  local function pieces(text)
    local list, whole = e:split(text)
    list[#list + 1] = whole
    return list
  end
  test.same(pieces "pods\nns team\n\nwhy pod/x", { "pods", "ns team", "why pod/x", true })
  test.same(pieces "x = 1\npods", { "x = 1", "pods", true })
  test.same(pieces "local x = 1\nprint(x)", { "local x = 1\nprint(x)", true })
  test.same(pieces "for i = 1, 2 do\npods()\nend\npods -A", { "for i = 1, 2 do\npods()\nend", "pods -A", true })
  test.same(pieces "pods\nfunction f()", { "pods", "function f()", false })
  test.same(pieces "x = (", { "x = (", false })
  test.same(pieces "x = = 1", { "x = = 1", true })
end)

test("a pasted text is run line by line until one fails", function()
  local r = support.new()
  test.equal(r.session:text "x = 1\nns\nx = x + 1\nnope(\n)\nx = 10", false)
  test.equal(table.concat(r.printed), "default\n")
  test.equal(r.session.environment.x, 2)
  test.equal(r.session:text "\n\n", nil)
end)

test("what was typed becomes a script", function()
  local r = support.new()
  local path = test.tmpdir() .. "/typed.lua"
  r:type("ns\nx = 20\nx * 2\n:lua pods\nnope(\n)\n:save " .. path)
  local text = require("fs").read(path)
  test.equal(text, ("-- Typed at the REPL of kfhost. Run it: kfhost %s\n"):format(path)
    .. 'local _ENV = require "repl".words()\n\n_ = show(ns())\nx = 20\n_ = show(x * 2)\n')
  assert(loadfile(path))
end)

test("aliases, own words and the source of functions", function()
  local r = support.new()
  r:type ":alias here ns"
  test.equal(r:type "here", "default\n")
  test.equal(r:type "command { name = 'twice', summary = 'doubles', run = function(n) return n * 2 end }", "")
  test.equal(r:type "twice 21", "42\n")
  assert(r:type ":help":find "twice", "own words are in the help")
  test.equal(r:type "function f(x) return x end\nf??", "function f(x) return x end\n")
  assert(r:type "f = require('diff').unified\nf??":find "^%-%- .*lib/diff.lua:%d+\nfunction M.unified")
end)

test("pipes and files get the whole text, unnumbered", function()
  local r = support.new()
  for i = 1, 3 do r:make(support.pod("web-" .. i)) end
  r:type "settings.lines = 2"
  local path = test.tmpdir() .. "/pods"
  test.equal(r:type("pods name > " .. path), ("3 lines in %s\n"):format(path))
  test.equal(require("fs").read(path), "pods/web-1\npods/web-2\npods/web-3\n")
  test.equal(r:type "pods name | grep 2", "pods/web-2\n")
  test.equal(r:type "print_twice = function() show('a') show('b') end pipe('sort -r', print_twice)", "b\na\n")
  r:type("redirect('" .. path .. "', function() show('a') show('b') end)")
  test.equal(require("fs").read(path), "a\nb\n")
  assert(r:type("redirect('" .. path .. "', function() show('a') error('half') end)"):find "half")
  test.equal(require("fs").read(path), "a\n")
  test.equal(r:type "ns", "default\n")
  test.equal(r:type "!printf 'a\\nb\\n'", "a\nb\n")
  assert(r:type "!exit 3":find "ended with exit code 3")
end)
