-- The REPL on a terminal: the real program in tmux, over a lab; keys go in, screens come out.
-- Screens are kept in tests/golden/terminal, what differs from run to run masked. To change one: kfhost test
-- --update-golden tests/terminal, then make pictures (picture.lua), look at each, and say why in the commit.
local test = require "test"

local folder = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"
local clusters = dofile(folder .. "cluster.lua")
local screen = dofile(folder .. "screen.lua")

-- --- lines -------------------------------------------------------------------------------------------------

-- What is wrong, and a piece of what is said then.
local WRONG = {
  { "get pdos", "did you mean pods" }, { "pods --sort colour", "there are name" }, { "x = = 3", "unexpected symbol" },
  { "get - 1", "arithmetic" }, { "nothing.at.all", "nil value" }, { "pods('nobody')", '"nobody" not found' },
  { "apply -f none.yaml", "none.yaml" }, { "get pods /(", "missing closing" }, { "%tim 1", "and %whos" },
}

local function prompt(s)
  s:golden("first-prompt", "Ctrl-D leaves")
  s:line ":help"
  s:golden("help", "\n:")
  s:keys "q"
  s:wait "lab:default"
  s:clear()
  for _, one in ipairs(WRONG) do
    s:line(one[1])
    s:wait(one[2])
  end
  s:prompt()
  s:golden("errors", "and %whos")
  s:clear()
end

local function completion(s)
  s:type "get configm"
  s:keys "Tab"
  s:wait "get configmaps"
  s:type "a"
  s:keys "Tab"
  s:wait "alpha-1"
  s:keys("Tab", "Tab")
  s:golden("completion-menu", "> get configmaps alpha-2")
  s:keys("Enter", "Enter")
  s:wait "1  alpha-2"
  s:clear()
end

local function multi_line(s)
  s:line "function double(x)"
  s:enter "return 2 * x"
  s:enter "end"
  s:line "double(21)"
  s:prompt()
  s:golden("multi-line", "\n42\n")
  s:clear()
end

local function cancellation(s)
  s:line "x = 5"
  s:line "print 'spins' while true do end"
  s:wait "\nspins\n"
  s:keys "C-c"
  s:wait "cancelled"
  s:line "print 'waits' require('task').sleep(1000)"
  s:wait "\nwaits\n"
  s:keys "C-c"
  s:wait "waits\n^C cancelled"
  s:line "x + 1"
  s:prompt()
  s:golden("cancelled", "\n6\n")
  s:clear()
  for _ = 1, 5 do -- in the instant of Enter, whether before or after the line was read
    s:type "require('task').sleep(1000)"
    s:keys("Enter", "C-c")
    s:wait "^C"
    s:line "x + 2"
    s:wait "\n7\n"
    s:clear()
  end
end

-- Programs that people type into have the terminal, and Ctrl-C, to themselves.
local function programs(s)
  s:line "!echo asks; read x && echo read-$x"
  s:wait "\nasks\n"
  s:enter "typed"
  s:wait "\nread-typed\n"
  s:line "!echo sleeps; sleep 1000"
  s:wait "\nsleeps\n"
  for _ = 1, 20 do -- a shell between two programs may miss one
    s:keys "C-c"
    if pcall(s.wait, s, "ended with signal 2", 20) then break end
  end
  s:wait "ended with signal 2"
  s:line "x + 3"
  s:wait "\n8\n"
  s:clear()
  s:line "pods | less"
  s:golden("pods-in-less", "(END)")
  s:keys "q"
  s:wait "lab:default"
  s:clear()
  s:line ":copy x + 37"
  s:wait "2 bytes for the clipboard"
  test.equal(s:clipboard(), "42")
  s:clear()
  s:line "('line\\n'):rep(100)"
  s:wait "line\nline"
  s:keys " "
  s:settled "line\n:"
  s:keys "q"
  s:line "x + 4"
  s:wait "\n9\n"
  s:clear()
end

local function history(s)
  s:type "dou"
  s:golden("suggestion", "> double(21)")
  s:keys("Right", "Enter")
  s:wait "\n42\n"
  s:clear()
  s:keys "C-r"
  s:type "doub"
  s:golden("history-search", "(search 'doub') double(21)")
  s:keys("C-g", "C-u")
  s:line "x"
  s:wait "\n5\n"
  s:keys "Up"
  s:wait "5\nlab:default [1]> x\n"
  s:clear()
end

-- --- values ---------------------------------------------------------------------------------------------------

local function values(s)
  s:line "get cm beta yaml"
  s:prompt()
  s:golden("value-yaml", "resourceVersion")
  s:clear()
  s:line "{ { name = 'a', n = 1 }, { name = 'b', n = 22, note = 'two\\nlines' } }, { 1, 2, { x = 'y' } }, nil, 'text'"
  s:prompt()
  s:golden("values", "text")
  s:clear()
end

local function rows(s)
  s:line "pods"
  s:wait "5  worker-0"
  s:line "_[2].status.phase"
  s:wait "\nSucceeded\n"
  s:line ":lua 1..2 get"
  s:wait '\nget(rows("1..2"))\n'
  s:line "1,4..5 get name"
  s:wait "pods/worker-0"
  s:line "7 describe"
  s:prompt()
  s:golden("rows", "there is no row 7")
  s:clear()
end

local function edit(s)
  s:line "edit cm/beta"
  s:wait "new value:"
  s.cluster.client:patch("configmaps", "beta", { data = { other = "of somebody else" } }, { type = "merge" })
  s:enter "new"
  s:wait "change ConfigMap/beta? [y/N]"
  s:type "y"
  s:prompt()
  s:golden("edit", "ConfigMap/beta changed")
  test.same(s.cluster.client:get("configmaps", "beta").data, { k = "new", other = "of somebody else" })
  s:clear()
  s:line "delete cm/beta cm/alpha-1"
  s:wait "[y/N]"
  s:type "n"
  s:line "undo"
  s:wait "undo 'change"
  s:type "y"
  s:prompt()
  s:golden("delete-undo", "is as it was")
  s:clear()
end

test("lines, completion, cancellation, programs, history, values, rows, edit", function()
  local cluster <close> = clusters.start(test.tmpdir())
  local s <close> = screen.open { home = cluster.home }
  s.cluster = cluster
  for _, scene in ipairs { prompt, completion, multi_line, cancellation, programs, history, values, rows, edit } do
    scene(s)
  end
  s:keys "C-d"
  s:wait "left with 0"
end)
