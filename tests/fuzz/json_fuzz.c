// Any bytes as JSON text. What our decoder accepts must come back equal, and lua-cjson, which
// accepts more, must accept it too; where it does not say the same, it is because of its known
// limits (no duplicate names, 14 digits, [] as {}), which are not compared.
#include "lua_check.h"

int luaopen_kf_json(lua_State *L);
int luaopen_cjson(lua_State *L);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char compare[] =
    "local text = ...\n"
    "local function same(a, b)\n"
    "  if type(a) == 'number' and type(b) == 'number' then\n"
    "    return math.abs(a - b) <= 1e-12 * math.max(math.abs(a), math.abs(b))\n"
    "  end\n"
    "  if type(a) ~= 'table' or type(b) ~= 'table' then return a == b end\n"
    "  for k, v in pairs(a) do if not same(v, b[k]) then return false end end\n"
    "  for k in pairs(b) do if a[k] == nil then return false end end\n"
    "  return true\n"
    "end\n"
    "local value, err = json.try.decode(text)\n"
    "if err then\n"
    "  assert(err.code == 'JSON' and err.offset >= 0 and err.offset <= #text and err.path)\n"
    "  return\n"
    "end\n"
    "local again = json.encode(value, {sort = true})\n"
    "assert(json.encode(json.decode(again), {sort = true}) == again, 'not stable: ' .. again)\n"
    "local indented = json.encode(value, {sort = true, indent = 2})\n"
    "assert(json.encode(json.decode(indented), {sort = true}) == again, 'indented: ' .. indented)\n"
    "local ok, theirs = pcall(cjson.decode, text)\n"
    // A scalar alone is no document for every release of lua-cjson.
    "if type(value) == 'table' then\n"
    "  assert(ok, 'lua-cjson refuses: ' .. tostring(theirs))\n"
    "  assert(same(value, theirs), 'lua-cjson reads something else')\n"
    "end\n";

static lua_State *start(void) {
  static struct host host;
  lua_State *L = kf_state_new(&host);
  if (!L) abort();
  luaL_requiref(L, "json", luaopen_kf_json, 1);
  luaL_requiref(L, "cjson", luaopen_cjson, 1);
  lua_settop(L, 0);
  if (luaL_loadstring(L, compare) != LUA_OK) abort();
  return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return check_input(start, data, size);
}
