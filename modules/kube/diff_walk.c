// The quick way of a diff: the two Lua values are compared where they lie, and only what differs is
// read as a tree. It gives up on what it does not understand; the slow way says what is wrong then.
#include "diff.h"

#include "values.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CHANGES = 64 };  // of the members of one map

static bool same(lua_State *L, int a, int b, int depth);

// [-0, +0, -] the mark of a table, or NULL.
static const void *mark_of(lua_State *L, int index) {
  if (!lua_getmetatable(L, index)) return NULL;
  const void *mark = lua_topointer(L, -1);
  lua_pop(L, 1);
  return mark;
}

// [-0, +0, -] whether two tables are of one shape, both lists or both maps.
static bool same_shape(lua_State *L, int a, int b) {
  const void *mark = mark_of(L, a);
  if (mark && mark == mark_of(L, b)) return true;
  return kf_shape_of(L, a, NULL) == kf_shape_of(L, b, NULL);
}

static bool is_list(struct differ *d, int index) {
  const void *mark = mark_of(d->tree.L, index);
  if (mark && mark == d->list_mark) return true;
  return kf_shape_of(d->tree.L, index, NULL) == KF_SHAPE_ARRAY;
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

// A member that differs, and its operations: those from `first` to before `end` of the list.
struct change {
  const char *key;
  size_t length;
  lua_Integer first, end;
};

static int by_key(const void *left, const void *right) {
  const struct change *a = left, *b = right;
  int first = memcmp(a->key, b->key, a->length < b->length ? a->length : b->length);
  return first != 0 ? first : (a->length > b->length) - (a->length < b->length);
}

static lua_Integer end_of_ops(struct differ *d) {
  return (lua_Integer)lua_rawlen(d->tree.L, d->ops) + 1;
}

// Members are met in any order: their operations are put into the order of their keys.
static void sort_ops(struct differ *d, struct change *changes, int count) {
  lua_State *L = d->tree.L;
  if (count < 2) return;
  lua_Integer first = changes[0].first, at = first;
  qsort(changes, (size_t)count, sizeof *changes, by_key);
  lua_newtable(L);
  for (int i = 0; i < count; i++) {
    for (lua_Integer from = changes[i].first; from < changes[i].end; from++) {
      lua_rawgeti(L, d->ops, from);
      lua_rawseti(L, -2, at++);
    }
  }
  for (lua_Integer from = first; from < at; from++) {
    lua_rawgeti(L, -1, from);
    lua_rawseti(L, d->ops, from);
  }
  lua_pop(L, 1);
}

// [key before after] what makes the one of the other, under that key.
static bool walk_member(struct differ *d, int key) {
  lua_State *L = d->tree.L;
  size_t length = d->length, key_length;
  const char *text = lua_tolstring(L, key, &key_length);
  if (lua_rawequal(L, key + 1, key + 2)) return true;
  kf_diff_key(d, text, key_length);
  bool understood = true;
  if (lua_isnil(L, key + 2)) kf_diff_emit(d, "remove", NULL);
  else if (lua_isnil(L, key + 1)) kf_diff_emit(d, "add", kf_tree_read(&d->tree, key + 2));
  else understood = kf_diff_walk(d, key + 1, key + 2);
  d->length = length;
  return understood;
}

// The members of `from`; those of the other map too unless `missing`, which wants only what is not
// there. The number of changes, or -1 when it gave up.
static int walk_members(struct differ *d, int from, int other, bool missing, struct change *changes,
                        int count) {
  lua_State *L = d->tree.L;
  int top = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, from); lua_settop(L, top + 1)) {  // key value
    if (lua_type(L, top + 1) != LUA_TSTRING) return -1;
    lua_pushvalue(L, top + 1);
    lua_rawget(L, other);  // key value other
    if (missing && !lua_isnil(L, top + 3)) continue;
    if (missing) lua_insert(L, top + 2);
    lua_Integer first = end_of_ops(d);
    if (!walk_member(d, top + 1)) return -1;
    lua_Integer end = end_of_ops(d);
    if (first == end) continue;
    if (count == MOST_CHANGES) return -1;
    struct change *change = &changes[count++];
    change->key = lua_tolstring(L, top + 1, &change->length);
    change->first = first;
    change->end = end;
  }
  return count;
}

static bool walk_maps(struct differ *d, int a, int b) {
  struct change changes[MOST_CHANGES];
  int count = walk_members(d, a, b, false, changes, 0);
  if (count >= 0) count = walk_members(d, b, a, true, changes, count);
  if (count > 0) sort_ops(d, changes, count);
  return count >= 0;
}

// --- lists --------------------------------------------------------------------------------------------

// Whether the values at a and b are maps with the same name.
static bool are_named_alike(lua_State *L, int a, int b) {
  if (!lua_istable(L, a) || !lua_istable(L, b)) return false;
  lua_pushliteral(L, "name");
  lua_rawget(L, a);
  lua_pushliteral(L, "name");
  lua_rawget(L, b);
  bool alike = lua_type(L, -1) == LUA_TSTRING && lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return alike;
}

// Lists of the same length whose items, where they differ, have the same names.
static bool are_comparable(lua_State *L, int a, int b) {
  lua_Integer count = (lua_Integer)lua_rawlen(L, a);
  int top = lua_gettop(L);
  bool alike = count == (lua_Integer)lua_rawlen(L, b);
  for (lua_Integer i = 1; i <= count && alike; i++) {
    lua_rawgeti(L, a, i);
    lua_rawgeti(L, b, i);
    alike = are_named_alike(L, top + 1, top + 2) || same(L, top + 1, top + 2, 0);
    lua_settop(L, top);
  }
  return alike;
}

static bool walk_items(struct differ *d, int a, int b) {
  lua_State *L = d->tree.L;
  size_t length = d->length;
  lua_Integer count = (lua_Integer)lua_rawlen(L, a);
  int top = lua_gettop(L);
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

// Item by item, or, where they may have moved, read and aligned.
static bool walk_lists(struct differ *d, int a, int b) {
  if (are_comparable(d->tree.L, a, b)) return walk_items(d, a, b);
  const struct kf_node *before = kf_tree_read(&d->tree, a);
  kf_diff_lists(d, before, kf_tree_read(&d->tree, b));
  return true;
}

bool kf_diff_walk(struct differ *d, int a, int b) {
  lua_State *L = d->tree.L;
  if (lua_rawequal(L, a, b)) return true;
  if (++d->depth > KF_MAX_DEPTH || !lua_checkstack(L, 16)) return false;
  bool understood = true;
  bool tables = lua_istable(L, a) && lua_istable(L, b) && same_shape(L, a, b);
  if (!tables) kf_diff_emit(d, "replace", kf_tree_read(&d->tree, b));
  else if (is_list(d, a)) understood = walk_lists(d, a, b);
  else understood = walk_maps(d, a, b);
  d->depth--;
  return understood;
}
