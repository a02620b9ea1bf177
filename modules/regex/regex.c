// require "regex": regular expressions as Go, Kubernetes, Katib and Istio have them (RE2).
#include "base/regex.h"

#include "error.h"

#include <lauxlib.h>
#include <stdlib.h>

#define KF_TYPE_REGEX "kfhost.regex"

struct expression {
  struct kf_regex *regex;
};

static int fail_compile(lua_State *L, const char *pattern, struct kf_regex_error error) {
  if (!error.problem) return luaL_error(L, "not enough memory");
  lua_pushlstring(L, pattern + error.offset, error.length);  // part
  kf_error(L, "Regex", "error parsing regexp: %s: `%s`", error.problem, lua_tostring(L, -1));
  lua_pushinteger(L, (lua_Integer)error.offset);
  lua_setfield(L, -2, "offset");
  return lua_error(L);
}

// regex.compile(pattern) -> expression
static int l_compile(lua_State *L) {
  size_t length;
  const char *pattern = luaL_checklstring(L, 1, &length);
  struct expression *expression = lua_newuserdatauv(L, sizeof *expression, 0);
  expression->regex = NULL;
  luaL_setmetatable(L, KF_TYPE_REGEX);
  struct kf_regex_error error;
  expression->regex = kf_regex_compile(pattern, length, &error);
  return expression->regex ? 1 : fail_compile(L, pattern, error);
}

static const struct kf_regex *check(lua_State *L) {
  return ((struct expression *)luaL_checkudata(L, 1, KF_TYPE_REGEX))->regex;
}

static int free_expression(lua_State *L) {
  struct expression *expression = luaL_checkudata(L, 1, KF_TYPE_REGEX);
  kf_regex_free(expression->regex);
  expression->regex = NULL;
  return 0;
}

// expression:groups() -> the number of capturing groups
static int l_groups(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)kf_regex_groups(check(L)));
  return 1;
}

// [-0, +1, m] pushes the text of a group, or false.
static void push_group(lua_State *L, const char *text, const ptrdiff_t *span) {
  if (span[0] < 0) lua_pushboolean(L, 0);
  else lua_pushlstring(L, text + span[0], (size_t)(span[1] - span[0]));
}

// expression:find(text, init) -> first, last, {group…} | nil
static int l_find(lua_State *L) {
  const struct kf_regex *regex = check(L);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  lua_Integer init = luaL_optinteger(L, 3, 1);
  luaL_argcheck(L, init >= 1, 3, "a place from 1 on expected");
  if ((lua_Unsigned)init > length + 1) return 0;
  size_t groups = kf_regex_groups(regex);
  ptrdiff_t *spans = lua_newuserdatauv(L, 2 * (groups + 1) * sizeof *spans, 0);
  int found = kf_regex_match(regex, text, length, (size_t)init - 1, spans);
  if (found < 0) return luaL_error(L, "not enough memory");
  if (found == 0) return 0;
  lua_pushinteger(L, spans[0] + 1);
  lua_pushinteger(L, spans[1]);
  lua_createtable(L, (int)groups, 0);
  for (size_t i = 1; i <= groups; i++) {
    push_group(L, text, spans + 2 * i);  // first last list group
    lua_rawseti(L, -2, (lua_Integer)i);
  }
  return 3;
}

// expression:matches(text) -> whether it is found anywhere in the text
static int l_matches(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  int found = kf_regex_match(check(L), text, length, 0, NULL);
  if (found < 0) return luaL_error(L, "not enough memory");
  lua_pushboolean(L, found);
  return 1;
}

static const luaL_Reg methods[] = {
    {"groups", l_groups}, {"find", l_find}, {"matches", l_matches}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"compile", l_compile}, {NULL, NULL}};

int luaopen_kf_regex(lua_State *L);
int luaopen_kf_regex(lua_State *L) {
  luaL_newmetatable(L, KF_TYPE_REGEX);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, free_expression);
  lua_setfield(L, -2, "__gc");
  lua_pushliteral(L, "regular expression");
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
