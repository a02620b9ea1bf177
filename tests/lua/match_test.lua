-- The matcher of sandboxes against Lua's own: every pattern on every text, results and errors.
local test = require "test"
local sandbox = require "sandbox"

local texts = {
  "", "a", "abc", "aaab", "hello world", "  indented = value  ", "key=value; other=2", "a.b.c", "[x](y)",
  "f(a(b)c)d)", "THE (quick) fox", "x1y22z333", "\0a\0b", "a\nb\nc", "αβγ", "%d+", "aXbXc",
  "0x1F 1e10", "((()))",
  "ababab", "-12.5e-3", "path/to/file.lua", "\255\254", "''quoted''", "_under_score_",
}

local patterns = {
  "", "a", ".", "a*", "a+", "a-", "a?", ".*", ".-", ".+", "^a", "a$", "^$", "^", "$", "^.*$",
  "(a)", "(a*)(.*)",
  "()", "()a()", "(.)%1", "(a)(b)%2%1", "%a+", "%d+", "%s*(.-)%s*$", "^%s*(.-)%s*$", "(%w+)%s*=%s*(%w+)",
  "[abc]+", "[^abc]+", "[a-c]", "[%w_]+", "[]]", "[^]]", "[]x]+", "[a-]", "[-a]", "[%-a]+",
  "[a%]]+", "%b()", "%b[]",
  "%bxy", "%f[%w]%w+", "%f[%W]", "%f[%z]", "%f[a]", "%x+", "%u+%l*", "%p", "%c", "%g+", "%A",
  "%S+", "%.", "%%",
  "%[(.-)%]%((.-)%)", "(((a)b)c)", "(a-)(b)", ".-b", "(.-)%1", "x-y", "[%a][%d]", "[^%s]+", "\0",
  "[\0-\31]+",
  "[\128-\255]+", "^(%-?%d+)%.?(%d*)", "([^/]*)%.(%w+)$", "a**", "a$b", "^^a", "(()())", "(()a)",
  "%g-$", ".?.?.?",
  -- malformed ones
  "(", ")", "(a", "a)", "[", "[a", "[^", "[]", "[^]", "%", "a%", "%b", "%ba", "%f", "%fa", "%1",
  "(a)%2", "(a%1)",
  "[%", "[a%", "[%]", "(()", "%9", "%0",
}

local replacements = { "", "<%0>", "%1", "%%", "<%1>", "x%2y", "%", "%q", "%9" }

-- Everything that string's functions say about one pattern, as a list of results.
local survey = [=[
  local out = {}
  local function add(...) out[#out + 1] = table.pack(...) end
  for _, text in ipairs(texts) do
    for _, init in ipairs { 1, 0, 3, -2, 100, -100 } do
      add(pcall(string.find, text, pattern, init))
      add(pcall(string.match, text, pattern, init))
    end
    add(pcall(string.find, text, pattern, 1, true))
    add(pcall(function()
      local all = {}
      for a, b, c in string.gmatch(text, pattern) do all[#all + 1] = { a, b, c, n = 3 } end
      for a in string.gmatch(text, pattern, 3) do all[#all + 1] = a end
      return all
    end))
    for _, replacement in ipairs(replacements) do add(pcall(string.gsub, text, pattern, replacement)) end
    add(pcall(string.gsub, text, pattern, "-", 1))
    add(pcall(string.gsub, text, pattern, { a = "A", b = 7, c = false }))
    add(pcall(string.gsub, text, pattern, function(a, b) return b or a and "<" .. a .. ">" end))
    add(pcall(string.gsub, text, pattern, function() return nil end, 2))
  end
  -- Messages are ours: only whether there was one counts.
  for _, result in ipairs(out) do if not result[1] then result[2] = "an error" end end
  return out]=]

for _, pattern in ipairs(patterns) do
  test(("pattern %q gives what Lua gives"):format(pattern), function()
    local globals = { texts = texts, pattern = pattern, replacements = replacements }
    local got, err = sandbox.run(survey, { globals = globals, timeout = 20 })
    if err then error(err, 0) end
    local env = setmetatable(globals, { __index = _G })
    test.same(got, load(survey, "=survey", "t", env)())
  end)
end

test("made-up patterns give what Lua gives", function()
  local state = 1
  local function pick(list)
    state = (state * 1103515245 + 12345) & 0x7fffffff
    return list[(state >> 8) % #list + 1]
  end
  local atoms = { "a", "b", ".", "%a", "%d", "%s", "[ab]", "[^a]", "(", ")", "()", "%1", "%b()",
    "%f[%a]", "^", "$" }
  local repeats = { "", "", "", "*", "+", "-", "?" }
  local made = {}
  for i = 1, 1500 do
    local parts = {}
    for j = 1, state % 6 + 1 do parts[j] = pick(atoms) .. pick(repeats) end
    made[i] = table.concat(parts)
  end
  local code = [[
    local out = {}
    for _, pattern in ipairs(made) do
      for _, text in ipairs { "", "abab", "a(b(a)b)1 ", "bb aa 12" } do
        local results = { table.pack(pcall(string.find, text, pattern)),
          table.pack(pcall(string.gsub, text, pattern, "<%0>")) }
        for _, result in ipairs(results) do if not result[1] then result[2] = "an error" end end
        out[#out + 1] = { pattern, text, results }
      end
    end
    return out]]
  local got, err = sandbox.run(code, { globals = { made = made }, timeout = 20 })
  if err then error(err, 0) end
  test.same(got, load(code, "=survey", "t", setmetatable({ made = made }, { __index = _G }))())
end)

test("other arguments than texts are judged as Lua judges them", function()
  local code = [=[
    local out = {}
    for _, call in ipairs {
      { "find", 123, 2 }, { "match", 12.5, "%d+" }, { "gsub", 111, 1, 2 }, { "gsub", "a", "a", true },
      { "find" }, { "gsub", "a" }, { "gsub", "aaa", "a", "b", 0 }, { "gsub", "aaa", "a", "b", -1 },
    } do
      out[#out + 1] = table.pack(pcall(string[call[1]], table.unpack(call, 2)))
    end
    return out]=]
  test.same(sandbox.run(code), load(code)())
end)
