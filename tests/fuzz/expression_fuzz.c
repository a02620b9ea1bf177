// Any bytes as a CEL expression: it is refused with a place in it, or it runs within its cost to a value
// or an error, twice to the same.
#include "lua_check.h"

int luaopen_kf_json(lua_State *L);
int luaopen_kf_cel(lua_State *L);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char run[] =
    "local text = ...\n"
    "cel.try.compile(text, {result = 'any'})\n"
    "local program, err = cel.try.compile(text, {cost = 20000})\n"
    "if err then\n"
    "  assert(err.code == 'CEL' and err.offset >= 0 and err.offset <= #text, tostring(err))\n"
    "  return\n"
    "end\n"
    "local values = {a = 5, o = {b = {1, 'x'}, c = 1.5}, self = {['80'] = 'x'}, s = 'h\\u{e9}llo'}\n"
    "local function eval()\n"
    "  local ok, value, kind = pcall(program.eval, program, values)\n"
    "  if not ok then\n"
    "    assert(type(value) == 'table' and value.code == 'CEL', tostring(value))\n"
    "    return value.message\n"
    "  end\n"
    "  return tostring(kind) .. (type(value) == 'table' and '' or tostring(value))\n"
    "end\n"
    "assert(eval() == eval())\n";

static lua_State *start(void) {
  static struct host host;
  lua_State *L = kf_state_new(&host);
  if (!L) abort();
  luaL_requiref(L, "json", luaopen_kf_json, 1);
  luaL_requiref(L, "cel", luaopen_kf_cel, 1);
  lua_settop(L, 0);
  if (luaL_loadstring(L, run) != LUA_OK) abort();
  return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return check_input(start, data, size);
}
