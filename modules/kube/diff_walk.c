// The quick way of a diff: the two Lua values are compared where they lie, and only what differs is
// read as a tree. It gives up on what it does not understand; the slow way says what is wrong then.
#include "diff.h"

#include "values.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CHANGES = 256 };  // of the members of one map

static bool same(lua_State *L, int a, int b, int depth);

// [-0, +0, -] whether two tables are of one shape, both lists or both maps.
static bool same_shape(lua_State *L, int a, int b) {
  const void *marks[2] = {NULL, NULL};
  if (lua_getmetatable(L, a)) marks[0] = lua_topointer(L, -1), lua_pop(L, 1);
  if (lua_getmetatable(L, b)) marks[1] = lua_topointer(L, -1), lua_pop(L, 1);
  if (marks[0] && marks[0] == marks[1]) return true;
  return kf_shape_of(L, a, NULL) == kf_shape_of(L, b, NULL);
}

static bool same_tables(lua_State *L, int a, int b, int depth) {
  size_t count = 0;
  if (depth > KF_MAX_DEPTH || !same_shape(L, a, b) || !lua_checkstack(L, 8)) return false;
  int top = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, a); lua_settop(L, top + 1), count++) {  // key value
    lua_pushvalue(L, -2);
    lua_rawget(L, b);  // key value other
    if (lua_rawequal(L, -1, -2)) continue;
    if (!same(L, top + 2, top + 3, depth)) {
      lua_settop(L, top);
      return false;
    }
  }
  for (lua_pushnil(L); lua_next(L, b); lua_pop(L, 1), count--) {
    if (count > 0) continue;
    lua_settop(L, top);
    return false;
  }
  return true;
}

static bool same(lua_State *L, int a, int b, int depth) {
  if (lua_rawequal(L, a, b)) return true;
  return lua_istable(L, a) && lua_istable(L, b) && same_tables(L, a, b, depth + 1);
}

// --- maps ---------------------------------------------------------------------------------------------

struct change {
  const char *key;
  size_t length;
};

static int by_key(const void *left, const void *right) {
  const struct change *a = left, *b = right;
  int first = memcmp(a->key, b->key, a->length < b->length ? a->length : b->length);
  return first != 0 ? first : (a->length > b->length) - (a->length < b->length);
}

// Adds the members of `from` that differ in, or (for `missing`) are not in `other`. -1: given up.
static int collect(lua_State *L, int from, int other, bool missing, struct change *changes, int count) {
  int top = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, from); lua_settop(L, top + 1)) {  // key value
    if (lua_type(L, top + 1) != LUA_TSTRING || count == MOST_CHANGES) return -1;
    lua_pushvalue(L, top + 1);
    bool there = lua_rawget(L, other) != LUA_TNIL;  // key value other
    if (missing ? there : same(L, top + 2, top + 3, 0)) continue;
    changes[count].key = lua_tolstring(L, top + 1, &changes[count].length);
    count++;
  }
  return count;
}

static bool walk_maps(struct differ *d, int a, int b) {
  lua_State *L = d->tree.L;
  struct change changes[MOST_CHANGES];
  size_t length = d->length;
  int top = lua_gettop(L);
  int count = collect(L, a, b, false, changes, 0);
  if (count >= 0) count = collect(L, b, a, true, changes, count);
  if (count < 0) return false;
  qsort(changes, (size_t)count, sizeof *changes, by_key);
  for (int i = 0; i < count; i++) {
    lua_pushlstring(L, changes[i].key, changes[i].length);
    lua_pushvalue(L, -1);
    bool was = lua_rawget(L, a) != LUA_TNIL;  // key before
    lua_pushvalue(L, -2);
    bool is = lua_rawget(L, b) != LUA_TNIL;   // key before after
    kf_diff_key(d, changes[i].key, changes[i].length);
    if (!is) kf_diff_emit(d, "remove", NULL);
    else if (!was) kf_diff_emit(d, "add", kf_tree_read(&d->tree, top + 3));
    else if (!kf_diff_walk(d, top + 2, top + 3)) return false;
    d->length = length;
    lua_settop(L, top);
  }
  return true;
}

// --- lists --------------------------------------------------------------------------------------------

// [.., value] whether the values at a and b are maps with the same name.
static bool named_alike(lua_State *L, int a, int b) {
  if (!lua_istable(L, a) || !lua_istable(L, b)) return false;
  lua_pushliteral(L, "name");
  lua_rawget(L, a);
  lua_pushliteral(L, "name");
  lua_rawget(L, b);
  bool alike = lua_type(L, -1) == LUA_TSTRING && lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return alike;
}

// Lists of the same length whose items, where they differ, have the same names: item by item. Other
// lists are read and aligned.
static bool walk_lists(struct differ *d, int a, int b) {
  lua_State *L = d->tree.L;
  size_t length = d->length;
  lua_Integer count = (lua_Integer)lua_rawlen(L, a);
  int top = lua_gettop(L);
  bool alike = count == (lua_Integer)lua_rawlen(L, b);
  for (lua_Integer i = 1; i <= count && alike; i++) {
    lua_rawgeti(L, a, i);
    lua_rawgeti(L, b, i);
    alike = same(L, top + 1, top + 2, 0) || named_alike(L, top + 1, top + 2);
    lua_settop(L, top);
  }
  if (!alike) {
    const struct kf_node *before = kf_tree_read(&d->tree, a);
    kf_diff_lists(d, before, kf_tree_read(&d->tree, b));
    return true;
  }
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, a, i);
    lua_rawgeti(L, b, i);
    kf_diff_index(d, (size_t)i - 1);
    if (!kf_diff_walk(d, top + 1, top + 2)) return false;
    d->length = length;
    lua_settop(L, top);
  }
  return true;
}

bool kf_diff_walk(struct differ *d, int a, int b) {
  lua_State *L = d->tree.L;
  if (++d->depth > KF_MAX_DEPTH || !lua_checkstack(L, 16)) return false;
  bool understood = true;
  if (!same(L, a, b, 0)) {
    bool tables = lua_istable(L, a) && lua_istable(L, b) && same_shape(L, a, b);
    if (!tables) kf_diff_emit(d, "replace", kf_tree_read(&d->tree, b));
    else if (kf_shape_of(L, a, NULL) == KF_SHAPE_ARRAY) understood = walk_lists(d, a, b);
    else understood = walk_maps(d, a, b);
  }
  d->depth--;
  return understood;
}
