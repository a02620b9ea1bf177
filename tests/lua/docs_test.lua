-- The stubs of docs/api against the program: nothing undocumented, nothing promised that is not there.
local test = require "test"
local fs = require "fs"
local scripts = require "scripts"

local FOREIGN = { cjson = true, ["cjson.safe"] = true }

-- The stubs: { module =, functions = {name = true}, text = }, by the module that ---@meta names.
local function read_stubs()
  local stubs = {}
  for _, file in ipairs(fs.list "docs/api") do
    local text = fs.read("docs/api/" .. file)
    local module = text:match "^%-%-%-@meta +([%w_.]+)"
    if module and module ~= "errors.codes" then
      local stub = { module = module, functions = {}, text = text }
      local variable = text:match "return ([%w_]+)%s*$"
      for owner, name in text:gmatch "\nfunction ([%w_.]+)[.:]([%w_]+)%(" do
        stub.functions[name] = owner:match "^[%w_]+" == variable and "function" or "method"
      end
      stubs[module] = stub
    end
  end
  return stubs
end

-- The C sources of a linked module.
local function sources_of(module)
  local folder = "modules/" .. module:match "^[^.]+"
  local texts = {}
  if fs.exists(folder) then
    for _, file in ipairs(fs.list(folder)) do
      if file:find "%.c$" then texts[#texts + 1] = fs.read(folder .. "/" .. file) end
    end
  end
  return texts
end

-- What registration tables name: functions of the module and methods of its objects.
local function registered_names(module)
  local names = {}
  for _, text in ipairs(sources_of(module)) do
    for name in text:gmatch '{%s*"(%l[%w_]*)",%s*l_' do names[name] = true end
  end
  return names
end

-- The functions of a module's table and of the plain tables in it.
local function functions_of(module)
  local names = {}
  for name, value in pairs(require(module)) do
    if type(value) == "function" then names[name] = true end
    if type(value) == "table" and name ~= "try" then
      for inner, field in pairs(value) do
        if type(field) == "function" and type(inner) == "string" then names[inner] = true end
      end
    end
  end
  return names
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local stubs = read_stubs()

for _, module in ipairs(scripts.linked()) do
  if not FOREIGN[module] then
    test(("what module %s offers is in its stub"):format(module), function()
      local stub = stubs[module]
      if not stub then error(("no file of docs/api begins with ---@meta %s"):format(module), 0) end
      local missing = {}
      for _, names in ipairs { functions_of(module), registered_names(module) } do
        for name in pairs(names) do
          if not stub.functions[name] then missing[name] = true end
        end
      end
      test.same(sorted(missing), {})
    end)
  end
end

local function is_there(module)
  return pcall(require, module)
end

for module, stub in pairs(stubs) do
  test(("what the stub of %s says is there"):format(module), function()
    if not is_there(module) then
      if fs.exists("modules/" .. module) then return end -- its grammar or data lies there before its code
      error("there is no module " .. module, 0)
    end
    local loaded, offered, registered = require(module), functions_of(module), registered_names(module)
    local extra = {}
    for name, kind in pairs(stub.functions) do
      local found = loaded[name] or offered[name] or registered[name]
      if kind == "function" and not found then extra[name] = true end
    end
    test.same(sorted(extra), {})
  end)
end

-- --- error codes ---------------------------------------------------------------------------------

local function walk(folder, ending, visit)
  for _, name in ipairs(fs.list(folder)) do
    local path = folder .. "/" .. name
    if fs.stat(path).type == "directory" then
      if name ~= "node_modules" then walk(path, ending, visit) end
    elseif path:sub(-#ending) == ending then
      visit(fs.read(path))
    end
  end
end

local function used_codes()
  local codes, texts = {}, {}
  local function in_c(text)
    texts[#texts + 1] = text
    for code in text:gmatch 'kf_%l+%([%w_>%-]+,%s*"(%u%w+)"' do codes[code] = true end
  end
  local function in_lua(text)
    texts[#texts + 1] = text
    for code in text:gmatch 'errors%.%l+%s*%(?%s*{[^}]-code%s*=%s*"(%u%w+)"' do codes[code] = true end
  end
  walk("host", ".c", in_c)
  walk("modules", ".c", in_c)
  walk("scripts", ".lua", in_lua)
  return codes, table.concat(texts)
end

local function listed_codes()
  local codes, order = {}, {}
  for code, meaning in fs.read("docs/api/errors.lua"):gmatch '%-%-%-| "(%w+)" # ([^\n]+)' do
    codes[code] = meaning
    order[#order + 1] = code
  end
  return codes, order
end

local function is_errno(code)
  return code:find "^E[%u%d]+$" ~= nil
end

test("every error code is listed", function()
  local listed, missing = listed_codes(), {}
  for code in pairs((used_codes())) do
    if not listed[code] and not is_errno(code) then missing[code] = true end
  end
  test.same(sorted(missing), {})
end)

test("every listed error code is used", function()
  local _, text = used_codes()
  for code in pairs((listed_codes())) do
    if not text:find('"' .. code .. '"', 1, true) then error(("nothing raises %q"):format(code), 0) end
  end
end)

test("the error codes are sorted", function()
  local _, order = listed_codes()
  local copy = table.move(order, 1, #order, 1, {})
  table.sort(copy)
  test.same(order, copy)
end)

-- --- what policy files use -------------------------------------------------------------------------------

-- The names that a source gives a policy file.
local function names_in(path, pattern)
  local names = {}
  for name in fs.read(path):gmatch(pattern) do
    if name:sub(1, 1) ~= "_" then names[name] = true end
  end
  return names
end

local INSIDE = "scripts/lib/policy/inside/"
local OFFERED = {
  { names_in(INSIDE .. "author.lua", "\n?function M%.(%l+)%("), "@field %s ", "`policy.%s" },
  { names_in(INSIDE .. "request.lua", "function methods:(%l+)%("), "function Request:%s(", "`req:%s(" },
  { names_in(INSIDE .. "request.lua", "\n    (%l[%l_]*) = "), "@field %s ", "req.%s`" },
  { names_in(INSIDE .. "handlers.lua", "\nfunction methods:(%l+)%("), "function Context:%s(", "`ctx:%s(" },
}

test("the stub and the reference name all that a policy file can use", function()
  local stub, page = fs.read "docs/api/policy.lua", fs.read "docs/guide/policy-reference.md"
  for _, offered in ipairs(OFFERED) do
    test.equal(#sorted(offered[1]) > 2, true)
    for name in pairs(offered[1]) do
      for text, form in pairs { [stub] = offered[2], [page] = offered[3] } do
        if not text:find(form:format(name), 1, true) then error(form:format(name) .. " is not there", 0) end
      end
    end
  end
end)
