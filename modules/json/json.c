// require "json": JSON without loss. Numbers that fit int64 are integers, arrays and objects keep
// their kind, null is json.null (the same value as lua-cjson's).
#include "json.h"

#include "error.h"
#include "values.h"

#include <lauxlib.h>

// json.array{…}, json.object{…}: mark the table (a new one without argument) and return it.
static int mark(lua_State *L, const char *name) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    lua_newtable(L);
    lua_replace(L, 1);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_setmetatable(L, name);
  return 1;
}

static int l_array(lua_State *L) {
  return mark(L, KF_ARRAY);
}

static int l_object(lua_State *L) {
  return mark(L, KF_OBJECT);
}

// json.is_array(value) -> whether it would be written as an array
static int l_is_array(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, lua_istable(L, 1) && kf_shape_of(L, 1, NULL) == KF_SHAPE_ARRAY);
  return 1;
}

static const luaL_Reg functions[] = {
    {"decode", kf_json_decode}, {"encode", kf_json_encode}, {"array", l_array},
    {"object", l_object},       {"is_array", l_is_array},   {NULL, NULL},
};

int luaopen_kf_json(lua_State *L);
int luaopen_kf_json(lua_State *L) {
  kf_json_encode_prepare(L);
  luaL_newlib(L, functions);
  kf_push_null(L);
  lua_setfield(L, -2, "null");
  kf_add_try(L, -1);
  return 1;
}
