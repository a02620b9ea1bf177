// Any bytes as YAML: refused with a place, or read to a value that our own text of it gives again.
#include "lua_check.h"

int luaopen_kf_json(lua_State *L);
int luaopen_kf_yaml(lua_State *L);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char compare[] =
    "local text = ...\n"
    "local values, err = yaml.try.decode_all(text)\n"
    "if err then\n"
    "  assert(err.code == 'YAML' and err.line >= 1 and err.column >= 1 and err.document >= 1, tostring(err))\n"
    "  return\n"
    "end\n"
    "for _, value in ipairs(values) do\n"
    "  local again, encoded = yaml.try.encode(value)\n"
    "  if again then\n"
    "    local back = yaml.decode(again)\n"
    "    assert(json.encode(back, {sort = true}) == json.encode(value, {sort = true}), again)\n"
    "  else\n"
    "    assert(encoded.code == 'YAML', tostring(encoded))\n"
    "  end\n"
    "end\n";

static lua_State *start(void) {
  static struct host host;
  lua_State *L = kf_state_new(&host);
  if (!L) abort();
  luaL_requiref(L, "json", luaopen_kf_json, 1);
  luaL_requiref(L, "yaml", luaopen_kf_yaml, 1);
  lua_settop(L, 0);
  if (luaL_loadstring(L, compare) != LUA_OK) abort();
  return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return check_input(start, data, size);
}
