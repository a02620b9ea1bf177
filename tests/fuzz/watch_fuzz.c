// Any bytes as a watch or a list, in pieces of a size that the first byte tells: the same events and objects as
// in one piece, and what goes into the store comes out as the same value.
#include "lua_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char check[] =
    "local core, errors, json = require 'kube.core', require 'errors', require 'json'\n"
    "local function same(a, b)\n"
    "  if type(a) ~= 'table' or type(b) ~= 'table' then return a == b or (a ~= a and b ~= b) end\n"
    "  for k, v in next, a do if not same(v, b[k]) then return false end end\n"
    "  for k in next, b do if a[k] == nil then return false end end\n"
    "  return true\n"
    "end\n"
    "local function read(text, size, member)\n"
    "  local splitter, got = core.splitter(member), {}\n"
    "  local ok, problem = pcall(function()\n"
    "    for at = 1, #text, size do\n"
    "      splitter:feed(text:sub(at, at + size - 1))\n"
    "      if member then\n"
    "        for item in function() return splitter:next() end do got[#got + 1] = item end\n"
    "      else\n"
    "        for kind in function() return splitter:step() end do\n"
    "          local ok, key = pcall(core.facts, splitter:text())\n"
    "          got[#got + 1] = kind .. '|' .. splitter:text() .. '|' .. (ok and key or '')\n"
    "        end\n"
    "      end\n"
    "    end\n"
    "    if member then got.rest = splitter:rest() end\n"
    "  end)\n"
    "  assert(ok or errors.is(problem, 'Protocol'), tostring(problem))\n"
    "  got.ok = ok\n"
    "  return got\n"
    "end\n"
    "local function keep(text)\n"
    "  local store = core.store { keep_managed_fields = true }\n"
    "  for _ = 1, 3 do\n"
    "    local ok, key = pcall(store.put, store, text)\n"
    "    assert(ok or errors.is(key, 'Protocol'), tostring(key))\n"
    "    if not ok then return end\n"
    "    local value = json.try.decode(text, { duplicates = 'last' })\n"
    "    if value then\n"
    "      assert(same(value, json.decode(store:text(key), { duplicates = 'last' })), text)\n"
    "    end\n"
    "    store:find('label:app', 'web')\n"
    "    store:find('owner', 'x')\n"
    "  end\n"
    "end\n"
    "return function(text)\n"
    "  if #text == 0 then return end\n"
    "  local size = text:byte(1) % 37 + 1\n"
    "  text = text:sub(2)\n"
    "  for _, member in ipairs { 'items', false } do\n"
    "    local whole, pieces = read(text, #text + 1, member or nil), read(text, size, member or nil)\n"
    "    assert(whole.ok == pieces.ok, 'pieces matter')\n"
    "    if whole.ok then assert(same(whole, pieces), 'pieces differ') end\n"
    "    for _, item in ipairs(member and whole or {}) do keep(item) end\n"
    "  end\n"
    "  keep(text)\n"
    "end\n";

static lua_State *start(void) {
  return start_host(check);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return check_input(start, data, size);
}
