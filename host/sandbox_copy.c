// Values from one Lua state to another: what JSON could say, and what tables share.
#include "sandbox.h"

#include "error.h"
#include "values.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_LIMIT 180
#define PATH_LIMIT 240

struct copier {
  lua_State *to, *from;
  int known;  // index on `to`: address in `from` -> copy, or false while it is under way
  int depth;
  char path[PATH_LIMIT];
  size_t path_length;
};

static void copy_value(struct copier *copier, int index);

static void fail(struct copier *copier, const char *problem) {
  const char *path = copier->path_length > 0 ? copier->path : "the value";
  kf_error(copier->to, "Value", "%s %s", path, problem);
  lua_pushstring(copier->to, path);
  lua_setfield(copier->to, -2, "path");
  lua_error(copier->to);
}

// Appends the key at index to the path: .name, [1].
static void add_step(struct copier *copier, int index) {
  lua_State *from = copier->from;
  char *end = copier->path + copier->path_length;
  size_t room = sizeof copier->path - copier->path_length;
  int length;
  if (lua_type(from, index) == LUA_TSTRING) length = snprintf(end, room, ".%s", lua_tostring(from, index));
  else if (lua_isinteger(from, index)) length = snprintf(end, room, "[%lld]", lua_tointeger(from, index));
  else length = snprintf(end, room, "[%s]", luaL_typename(from, index));
  copier->path_length += (size_t)length < room ? (size_t)length : room - 1;
}

static void copy_fields(struct copier *copier, int index) {
  size_t path_length = copier->path_length;
  lua_pushnil(copier->from);
  while (lua_next(copier->from, index)) {
    int key = lua_gettop(copier->from) - 1;
    add_step(copier, key);
    copy_value(copier, key);
    copy_value(copier, key + 1);
    lua_rawset(copier->to, -3);
    copier->path_length = path_length;
    copier->path[path_length] = '\0';
    lua_pop(copier->from, 1);
  }
}

static bool is_mark(const char *name) {
  return strncmp(name, "kfhost.", 7) == 0 || strcmp(name, KF_ARRAY) == 0 || strcmp(name, KF_OBJECT) == 0;
}

// The marks that the codecs put on tables are the same in every state, by name.
static void copy_mark(struct copier *copier, int index) {
  if (!lua_getmetatable(copier->from, index)) return;
  lua_pushliteral(copier->from, "__name");
  lua_rawget(copier->from, -2);
  const char *name = lua_type(copier->from, -1) == LUA_TSTRING ? lua_tostring(copier->from, -1) : "";
  if (is_mark(name)) luaL_setmetatable(copier->to, name);
  lua_pop(copier->from, 2);
}

static void copy_table(struct copier *copier, int index) {
  lua_State *to = copier->to;
  const void *address = lua_topointer(copier->from, index);
  int known = lua_rawgetp(to, copier->known, address);
  if (known == LUA_TTABLE) return;
  if (known == LUA_TBOOLEAN) fail(copier, "contains itself");
  lua_pop(to, 1);
  if (++copier->depth > DEPTH_LIMIT) fail(copier, "is nested too deeply");
  lua_pushboolean(to, 0);
  lua_rawsetp(to, copier->known, address);
  lua_newtable(to);
  copy_fields(copier, index);
  copy_mark(copier, index);
  lua_pushvalue(to, -1);
  lua_rawsetp(to, copier->known, address);
  copier->depth--;
}

static void copy_value(struct copier *copier, int index) {
  lua_State *to = copier->to, *from = copier->from;
  luaL_checkstack(to, 8, "a value too deep");
  if (!lua_checkstack(from, 8)) fail(copier, "is nested too deeply");
  size_t length;
  const char *text;
  switch (lua_type(from, index)) {
    case LUA_TNIL: lua_pushnil(to); return;
    case LUA_TBOOLEAN: lua_pushboolean(to, lua_toboolean(from, index)); return;
    case LUA_TNUMBER:
      if (lua_isinteger(from, index)) lua_pushinteger(to, lua_tointeger(from, index));
      else lua_pushnumber(to, lua_tonumber(from, index));
      return;
    case LUA_TSTRING:
      text = lua_tolstring(from, index, &length);
      lua_pushlstring(to, text, length);
      return;
    case LUA_TTABLE: copy_table(copier, index); return;
    case LUA_TLIGHTUSERDATA:  // json.null
      if (lua_touserdata(from, index) == NULL) {
        lua_pushlightuserdata(to, NULL);
        return;
      }
  }
  char problem[64];
  snprintf(problem, sizeof problem, "is a %s, which cannot cross", luaL_typename(from, index));
  fail(copier, problem);
}

void kf_sandbox_copy(lua_State *to, lua_State *from, int index) {
  struct copier copier = {.to = to, .from = from};
  int top = lua_gettop(from);
  lua_newtable(to);
  copier.known = lua_gettop(to);
  copy_value(&copier, lua_absindex(from, index));
  lua_remove(to, copier.known);
  lua_settop(from, top);
}
