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

// --- copies -------------------------------------------------------------------------------------

// [-0, +0, -] how many members a table has besides the items 1…items.
static int count_members(lua_State *L, int index, lua_Integer items) {
  lua_Integer count = -items;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) count++;
  return count > 0 ? (int)count : 0;
}

// [value → copy] a table becomes a new one, with the same mark.
static void copy_top(lua_State *L, int depth) {
  if (!lua_istable(L, -1)) return;
  if (depth > KF_MAX_DEPTH) luaL_error(L, "copy: values nest too deep, or in a circle");
  luaL_checkstack(L, 6, "copy");
  int from = lua_gettop(L);
  lua_Integer items = (lua_Integer)lua_rawlen(L, from);
  int members = count_members(L, from, items);
  lua_createtable(L, (int)items, members);  // from copy
  for (lua_Integer i = 1; i <= items; i++) {
    lua_rawgeti(L, from, i);
    copy_top(L, depth + 1);
    lua_rawseti(L, from + 1, i);
  }
  for (lua_pushnil(L); members > 0 && lua_next(L, from);) {  // from copy key value
    copy_top(L, depth + 1);
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, from + 1);
  }
  lua_settop(L, from + 1);
  if (lua_getmetatable(L, from)) lua_setmetatable(L, from + 1);
  lua_replace(L, from);
}

// json.copy(value) -> a deep copy; marks are kept
static int l_copy(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  copy_top(L, 0);
  return 1;
}

static const luaL_Reg functions[] = {
    {"decode", kf_json_decode}, {"encode", kf_json_encode}, {"array", l_array},
    {"object", l_object},       {"is_array", l_is_array},   {"copy", l_copy},
    {NULL, NULL},
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
