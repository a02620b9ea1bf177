#include "values.h"

#include <ctype.h>
#include <lauxlib.h>
#include <string.h>

void kf_values_prepare(lua_State *L) {
  luaL_newmetatable(L, KF_ARRAY);
  luaL_newmetatable(L, KF_OBJECT);
  lua_pop(L, 2);
}

enum kf_shape kf_shape_of(lua_State *L, int index, bool *marked) {
  bool array = false, known = false;
  index = lua_absindex(L, index);
  if (lua_getmetatable(L, index)) {
    luaL_getmetatable(L, KF_ARRAY);
    luaL_getmetatable(L, KF_OBJECT);
    array = lua_rawequal(L, -3, -2);
    known = array || lua_rawequal(L, -3, -1);
    lua_pop(L, 3);
  }
  if (marked) *marked = known;
  if (known) return array ? KF_SHAPE_ARRAY : KF_SHAPE_OBJECT;
  array = lua_rawgeti(L, index, 1) != LUA_TNIL;
  lua_pop(L, 1);
  return array ? KF_SHAPE_ARRAY : KF_SHAPE_OBJECT;
}

static bool is_plain(const struct kf_place *place) {
  if (place->length == 0 || isdigit((unsigned char)place->key[0])) return false;
  for (size_t i = 0; i < place->length; i++)
    if (!isalnum((unsigned char)place->key[i]) && place->key[i] != '_') return false;
  return true;
}

void kf_push_path(lua_State *L, const struct kf_place *places, size_t count) {
  luaL_Buffer path;
  luaL_buffinit(L, &path);
  luaL_addchar(&path, '$');
  for (size_t i = 0; i < count; i++) {
    const struct kf_place *place = &places[i];
    if (!place->key) {
      lua_pushfstring(L, "[%I]", place->index);
      luaL_addvalue(&path);
    } else if (is_plain(place)) {
      luaL_addchar(&path, '.');
      luaL_addlstring(&path, place->key, place->length);
    } else {
      luaL_addstring(&path, "['");
      luaL_addlstring(&path, place->key, place->length);
      luaL_addstring(&path, "']");
    }
  }
  luaL_pushresult(&path);
}
