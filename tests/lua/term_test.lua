local test = require "test"
local term = require "term"

local function spy()
  local clock, seen = { 0 }, {}
  local progress = term.progress {
    draw = function() return { "running load", "running train" } end,
    write = function(text) seen[#seen + 1] = text end,
    now = function() return clock[1] end,
  }
  return progress, seen, clock
end

test("letters take one column, East Asian and emoji two, marks none", function()
  for text, columns in pairs {
    [""] = 0, abc = 3, ["日本"] = 4, ["한국어"] = 6, ["é"] = 1, ["e\u{301}"] = 1, ["a\tb\n"] = 2,
    ["ｆｕｌｌ"] = 8, ["👍"] = 2, ["\u{200B}"] = 0,
  } do
    test.equal(term.width(text), columns)
  end
end)

test("what terminals draw as one emoji counts as one", function()
  test.equal(term.width "👩‍👩‍👧", 2)
  test.equal(term.width "👍🏽", 2)
  test.equal(term.width "❤️", 2)
  test.equal(term.width "🇩🇪", 2)
end)

test("escape sequences take no column", function()
  test.equal(term.width "\27[1;31mred\27[0m", 3)
  test.equal(term.width "\27[", 0)
end)

test("a byte that is no UTF-8 takes one column", function()
  test.equal(term.width "\xff\xfe", 2)
  test.equal(term.width "\xe6\x97", 2)
  test.equal(term.width "\xc0\x80", 2)
end)

test("a cut text fits, says that it was cut and keeps characters whole", function()
  test.equal(term.cut("abcdef", 6), "abcdef")
  test.equal(term.cut("abcdef", 4), "abc…")
  test.equal(term.cut("日本語", 4), "日…")
  test.equal(term.cut("日本語", 1), "…")
  test.equal(term.cut("abc", 0), "")
  test.equal(term.cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…")
end)

test("a cut text still ends its colours", function()
  test.equal(term.cut("\27[31mabcdef\27[0m", 3), "\27[31mab…\27[0m")
end)

test("no text is wider after a cut than asked for", function()
  local pieces = { "a", "日", "👍🏽", "e\u{301}", "\27[1m", "\xff", " ", "👩‍👩‍👧" }
  local seed = 7
  for _ = 1, 500 do
    local parts = {}
    for i = 1, 12 do
      seed = (seed * 1103515245 + 12345) % 2147483648
      parts[i] = pieces[seed // 65536 % #pieces + 1]
    end
    local text, columns = table.concat(parts), seed // 16 % 14
    local cut = term.cut(text, columns)
    assert(term.width(cut) <= columns, ("%q cut to %d is %q"):format(text, columns, cut))
  end
end)

test("a style that does not exist is refused", function()
  test.raises("no such style", function() term.style("x", "bold shiny") end)
end)

test("a table aligns columns by what is seen", function()
  local rows = { { "load", "0.1 s" }, { "日本", "12.0 s" }, { "e\u{301}nd" } }
  local text = term.table(rows, { header = { "STEP", "TIME" }, align = { [2] = "right" } })
  test.equal(text:gsub("\27%[%d*m", ""), "STEP    TIME\nload   0.1 s\n日本  12.0 s\ne\u{301}nd\n")
end)

test("a table shrinks its widest column until it fits", function()
  local rows = { { "a step with a very long name", "succeeded" }, { "b", "failed" } }
  test.equal(term.table(rows, { columns = 24 }), "a step with …  succeeded\nb              failed\n")
end)

test("columns are never shrunk to nothing", function()
  test.equal(term.table({ { "abcdefghij", "klmnopqrst" } }, { columns = 3 }), "abcde…  klmno…\n")
end)

test("a table of no rows is empty", function()
  test.equal(term.table {}, "")
end)

test("progress draws at most ten times a second", function()
  local progress, seen, clock = spy()
  for hundredths = 0, 99 do
    clock[1] = hundredths / 100
    progress:changed()
  end
  test.equal(#seen, 10)
  progress:close()
end)

test("a line that stays goes above the moving ones", function()
  local progress, seen, clock = spy()
  progress:tick()
  clock[1] = 0.1
  progress:print "load: done"
  test.same(seen, { "running load\nrunning train", "\27[1F\27[Jload: done\nrunning load\nrunning train" })
  progress:close()
end)

test("lines that stay are drawn ten times a second too, and none is lost", function()
  local progress, seen, clock = spy()
  local printed, shown = {}, {}
  for hundredths = 0, 99 do
    clock[1] = hundredths / 100
    printed[#printed + 1] = "line " .. hundredths
    progress:print(printed[#printed])
  end
  test.equal(#seen, 10)
  progress:close()
  test.equal(#seen, 11)
  for line in table.concat(seen):gmatch "(line %d+)\n" do shown[#shown + 1] = line end
  test.same(shown, printed)
end)

test("closing removes the moving lines, once", function()
  local progress, seen = spy()
  progress:tick()
  progress:close()
  progress:close()
  progress:tick()
  test.equal(seen[2], "\27[1F\27[J")
  test.equal(#seen, 2)
end)

test("plain progress shows only the lines that stay", function()
  local seen = {}
  local progress <close> = term.progress {
    plain = true, draw = function() return { "moving" } end, now = function() return 0 end,
    write = function(text) seen[#seen + 1] = text end,
  }
  progress:changed()
  progress:print "done"
  test.same(seen, { "done\n" })
end)

test("a text of others commands no terminal: only its colours stay, and they end", function()
  test.equal(term.safe "plain\ttext\n日本", "plain\ttext\n日本")
  test.equal(term.safe "\27[31mred\27[0m", "\27[31mred\27[0m")
  test.equal(term.safe "\27[1;31mred", "\27[1;31mred\27[0m")
  test.equal(term.safe "\27[2J\27]0;title\7\27[31", "^[[2J^[]0;title^G^[[31")
  test.equal(term.safe "a\r\nb\rc\8d\0e\127", "a\nb^Mc^Hd^@e^?")
  test.equal(term.safe "\u{9b}2J \u{202e}gnp.exe \u{2066}x", "<9b>2J <202e>gnp.exe <2066>x")
  test.equal(term.safe "\x9b\xff", "\u{FFFD}\u{FFFD}")
end)

test("fit says how many bytes so many columns hold", function()
  test.same({ term.fit("abc", 2), term.fit("日本", 3), term.fit("abc", 0), term.fit("e\u{301}x", 1) }, { 2, 3, 0, 3 })
end)
