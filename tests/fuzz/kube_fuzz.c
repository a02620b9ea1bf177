// Any bytes as a quantity, a selector, a JSONPath template, or as two JSON texts to diff and patch.
// What is accepted must be stable: its own text reads back equal, and a diff applied gives the other value.
#include "lua_check.h"

int luaopen_kf_json(lua_State *L);
int luaopen_kf_kube(lua_State *L);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char compare[] =
    "local kind, text = (...):byte(1), (...):sub(2)\n"
    "local function refused(err, code)\n"
    "  assert(type(err) == 'table' and err.code == code, tostring(err))\n"
    "end\n"
    "local function written(v) return json.encode(v, {sort = true}) end\n"
    "local object = json.decode('{\"a\":[1,2.5,\"x\",null,{\"b\":[]}],\"b\":{\"c\":{}},\"items\":[{\"n\":1},{\"n\":2}]}')\n"
    "local checks = {\n"
    "  function()\n"
    "    local ok, q = pcall(core.quantity, text)\n"
    "    if not ok then return refused(q, 'Quantity') end\n"
    "    local again = core.quantity(q:text())\n"
    "    assert(again == q and again:text() == q:text(), q:text())\n"
    "    local sum = core.try.quantity(q:text()) + q\n"
    "    assert((sum - q) == q, sum:text())\n"
    "  end,\n"
    "  function()\n"
    "    local ok, s = pcall(core.selector, text)\n"
    "    if not ok then return refused(s, 'Selector') end\n"
    "    local again = core.selector(s:text())\n"
    "    assert(again:text() == s:text(), s:text())\n"
    "    local labels = {a = 'b', ['x.y/z'] = '', n = '5'}\n"
    "    assert(again:matches(labels) == s:matches(labels))\n"
    "  end,\n"
    "  function()\n"
    "    local ok, err = pcall(core.jsonpath, text, object)\n"
    "    if not ok then refused(err, 'JSONPath') end\n"
    "  end,\n"
    "  function()\n"
    "    local first, second = text:match('^(.-)\\n(.*)$')\n"
    "    local a, b = json.try.decode(first or ''), json.try.decode(second or '')\n"
    "    if a == nil or b == nil then return end\n"
    "    local before = written(a)\n"
    "    local ops = core.patch.diff(a, b)\n"
    "    assert(written(core.patch.json(a, ops)) == written(b), written(ops))\n"
    "    assert(written(a) == before)\n"
    "    local ok, err = pcall(core.patch.json, a, b)\n"
    "    if not ok then refused(err, 'Patch') end\n"
    "    core.patch.merge(a, b)\n"
    "    ok, err = pcall(core.patch.strategic, a, b, 'v1/Pod')\n"
    "    if not ok then refused(err, 'Patch') end\n"
    "    assert(written(a) == before)\n"
    "  end,\n"
    "}\n"
    "checks[(kind or 0) % #checks + 1]()\n";

static lua_State *start(void) {
  static struct host host;
  lua_State *L = kf_state_new(&host);
  if (!L) abort();
  luaL_requiref(L, "json", luaopen_kf_json, 1);
  luaL_requiref(L, "core", luaopen_kf_kube, 1);
  lua_settop(L, 0);
  if (luaL_loadstring(L, compare) != LUA_OK) abort();
  return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return check_input(start, data, size);
}
