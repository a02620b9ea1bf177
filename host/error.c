#include "error.h"

#include <errno.h>
#include <string.h>

static void push_error(lua_State *L, const char *code, const char *fmt, va_list args) {
  lua_createtable(L, 0, 4);
  lua_pushstring(L, code);
  lua_setfield(L, -2, "code");
  lua_pushvfstring(L, fmt, args);
  lua_setfield(L, -2, "message");
  luaL_setmetatable(L, KF_TYPE_ERROR);
}

void kf_error(lua_State *L, const char *code, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  push_error(L, code, fmt, args);
  va_end(args);
}

int kf_fail(lua_State *L, const char *code, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  push_error(L, code, fmt, args);
  va_end(args);
  return lua_error(L);
}

int kf_fail_errno(lua_State *L, int number, const char *action, const char *path) {
  const char *name = strerrorname_np(number);
  kf_error(L, name ? name : "EUNKNOWN", "cannot %s %s: %s", action, path, strerror(number));
  lua_pushstring(L, path);
  lua_setfield(L, -2, "path");
  return lua_error(L);
}

// --- printing -------------------------------------------------------------------------------

// Adds ", label value" for a field of the error table at index, if it is there.
static void add_field(lua_State *L, luaL_Buffer *text, int index, const char *field,
                      const char *before) {
  if (lua_getfield(L, index, field) == LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  luaL_tolstring(L, -1, NULL);
  lua_remove(L, -2);
  lua_pushstring(L, before);
  lua_insert(L, -2);
  lua_concat(L, 2);
  luaL_addvalue(text);
}

// [error] -> text: "CODE: message (path, line 3, column 5)", then the causes, one a line.
static int l_error_tostring(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  luaL_Buffer place;
  luaL_buffinit(L, &place);
  add_field(L, &place, 1, "path", ", ");
  add_field(L, &place, 1, "line", ", line ");
  add_field(L, &place, 1, "column", ", column ");
  add_field(L, &place, 1, "offset", ", byte ");
  luaL_pushresult(&place);  // error place
  size_t length;
  const char *where = lua_tolstring(L, 2, &length);
  lua_getfield(L, 1, "code");     // error place code
  lua_getfield(L, 1, "message");  // error place code message
  const char *code = luaL_tolstring(L, 3, NULL);
  const char *message = luaL_tolstring(L, 4, NULL);
  if (length > 0) {
    lua_pushfstring(L, "%s: %s (%s)", code, message, where + 2);
  } else {
    lua_pushfstring(L, "%s: %s", code, message);
  }
  if (lua_getfield(L, 1, "cause") != LUA_TNIL) {
    luaL_tolstring(L, -1, NULL);
    lua_remove(L, -2);  // … text cause
    lua_pushliteral(L, "\n  caused by ");
    lua_insert(L, -2);
    lua_concat(L, 3);
  } else {
    lua_pop(L, 1);
  }
  return 1;
}

void kf_error_text(lua_State *L) {
  if (lua_type(L, -1) == LUA_TSTRING) return;
  if (luaL_getmetafield(L, -1, "__tostring") != LUA_TNIL) {
    lua_pop(L, 1);
    luaL_tolstring(L, -1, NULL);
  } else {
    lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, -1));
  }
  lua_remove(L, -2);
}

// --- try ------------------------------------------------------------------------------------

static int is_error_table(lua_State *L, int index) {
  if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return 0;
  luaL_getmetatable(L, KF_TYPE_ERROR);
  int same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

static int finish_try(lua_State *L, int status, lua_KContext context) {
  (void)context;
  if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L);
  if (!is_error_table(L, -1)) return lua_error(L);  // misuse stays loud
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

// The function that M.try.f is; upvalues: f, the proxy, the object behind it.
static int l_try_call(lua_State *L) {
  if (lua_rawequal(L, 1, lua_upvalueindex(2))) {  // c.try:method(…): hand on c itself
    lua_pushvalue(L, lua_upvalueindex(3));
    lua_replace(L, 1);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  int status = lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, 0, finish_try);
  return finish_try(L, status, 0);
}

// proxy[name]; upvalue: the object behind it.
static int l_try_index(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  lua_gettable(L, lua_upvalueindex(1));
  if (!lua_isfunction(L, -1)) return 1;
  lua_pushvalue(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, l_try_call, 3);
  return 1;
}

// [-0, +1, m] pushes the try proxy of the object at index.
static void push_try(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_createtable(L, 0, 0);
  lua_createtable(L, 0, 1);
  lua_pushvalue(L, index);
  lua_pushcclosure(L, l_try_index, 1);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}

void kf_add_try(lua_State *L, int index) {
  index = lua_absindex(L, index);
  push_try(L, index);
  lua_setfield(L, index, "try");
}

// --- the Lua module ---------------------------------------------------------------------------

// errors.new{code, message, …} -> error table
static int l_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argcheck(L, lua_getfield(L, 1, "code") == LUA_TSTRING, 1, "code: string expected");
  luaL_argcheck(L, lua_getfield(L, 1, "message") == LUA_TSTRING, 1, "message: string expected");
  lua_settop(L, 1);
  luaL_setmetatable(L, KF_TYPE_ERROR);
  return 1;
}

// errors.raise{code, message, …}
static int l_raise(lua_State *L) {
  l_new(L);
  return lua_error(L);
}

// errors.is(value[, code]) -> whether value is an error table (of that code)
static int l_is(lua_State *L) {
  int is = is_error_table(L, 1);
  if (is && !lua_isnoneornil(L, 2)) {
    lua_getfield(L, 1, "code");
    is = lua_rawequal(L, -1, 2);
  }
  lua_pushboolean(L, is);
  return 1;
}

// errors.text(value) -> what to tell people
static int l_text(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  kf_error_text(L);
  return 1;
}

// errors.try(object) -> a proxy whose functions return nil and the error instead of raising
static int l_try(lua_State *L) {
  luaL_checkany(L, 1);
  push_try(L, 1);
  return 1;
}

static const luaL_Reg functions[] = {
    {"new", l_new}, {"raise", l_raise}, {"is", l_is}, {"text", l_text}, {"try", l_try}, {NULL, NULL},
};

int luaopen_kf_errors(lua_State *L) {
  if (luaL_newmetatable(L, KF_TYPE_ERROR)) {
    lua_pushcfunction(L, l_error_tostring);
    lua_setfield(L, -2, "__tostring");
  }
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
