#include "tree.h"

#include "error.h"
#include "values.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16000, ALIGNMENT = 16 };

void kf_tree_open(lua_State *L, struct kf_tree *tree, const char *code) {
  lua_newtable(L);
  *tree = (struct kf_tree){.L = L, .code = code, .blocks = lua_gettop(L)};
}

// [-0, +0, m] a block of its own for what is large, else a new one to cut pieces from.
static char *new_block(struct kf_tree *tree, size_t size) {
  luaL_checkstack(tree->L, 2, "tree");
  char *block = lua_newuserdatauv(tree->L, size, 0);
  lua_rawseti(tree->L, tree->blocks, (lua_Integer)lua_rawlen(tree->L, tree->blocks) + 1);
  return block;
}

void *kf_tree_alloc(struct kf_tree *tree, size_t size) {
  size = (size + ALIGNMENT) / ALIGNMENT * ALIGNMENT;  // never nothing, so that it is never NULL
  if (size > BLOCK / 4) return new_block(tree, size);
  if (size > tree->left) {
    tree->at = new_block(tree, BLOCK);
    tree->left = BLOCK;
  }
  char *piece = tree->at;
  tree->at += size;
  tree->left -= size;
  return piece;
}

struct kf_node *kf_tree_new(struct kf_tree *tree, enum kf_kind kind) {
  struct kf_node *node = kf_tree_alloc(tree, sizeof *node);
  *node = (struct kf_node){.kind = kind};
  return node;
}

struct kf_node *kf_tree_text(struct kf_tree *tree, const char *text, size_t length) {
  struct kf_node *node = kf_tree_new(tree, KF_TEXT);
  node->text = text;
  node->count = length;
  return node;
}

// --- reading ----------------------------------------------------------------------------------------

struct reader {
  struct kf_tree *tree;
  size_t depth;
  struct kf_place places[KF_MAX_DEPTH];
};

static int fail(struct reader *r, const char *message) {
  lua_State *L = r->tree->L;
  luaL_checkstack(L, 8, NULL);
  kf_error(L, r->tree->code, "%s", message);
  kf_push_path(L, r->places, r->depth);
  lua_setfield(L, -2, "path");
  return lua_error(L);
}

static struct kf_node *read_value(struct reader *r);

static struct kf_node *read_list(struct reader *r, struct kf_node *node) {
  lua_State *L = r->tree->L;
  lua_Integer count = (lua_Integer)lua_rawlen(L, -1), found = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    lua_Integer index = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
    if (index < 1 || index > count) fail(r, "a list has a hole, or a member that is no element");
    found++;
  }
  if (found != count) fail(r, "a list has a hole");
  node->items = kf_tree_alloc(r->tree, (size_t)count * sizeof *node->items);
  node->capacity = (size_t)count;
  for (lua_Integer i = 1; i <= count; i++) {
    r->places[r->depth - 1] = (struct kf_place){.index = i - 1};
    lua_rawgeti(L, -1, i);
    node->items[node->count++] = read_value(r);
    lua_pop(L, 1);
  }
  return node;
}

static int compare_keys(const char *a, size_t a_length, const char *b, size_t b_length) {
  int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
  return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

static int compare_members(const void *a, const void *b) {
  const struct kf_member *x = a, *y = b;
  return compare_keys(x->key, x->length, y->key, y->length);
}

static struct kf_node *read_map(struct reader *r, struct kf_node *node) {
  lua_State *L = r->tree->L;
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), count++)
    if (lua_type(L, -2) != LUA_TSTRING)
      fail(r, lua_pushfstring(L, "a map has a %s as a key", luaL_typename(L, -2)));
  node->members = kf_tree_alloc(r->tree, count * sizeof *node->members);
  node->capacity = count;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    struct kf_member *member = &node->members[node->count];
    member->key = lua_tolstring(L, -2, &member->length);
    r->places[r->depth - 1] = (struct kf_place){.key = member->key, .length = member->length};
    member->value = read_value(r);
    node->count++;
  }
  qsort(node->members, node->count, sizeof *node->members, compare_members);
  return node;
}

static struct kf_node *read_table(struct reader *r) {
  lua_State *L = r->tree->L;
  if (r->depth >= KF_MAX_DEPTH) fail(r, "nested more than 500 deep, or it contains itself");
  luaL_checkstack(L, 8, "value");
  r->places[r->depth++] = (struct kf_place){0};
  bool list = kf_shape_of(L, -1, NULL) == KF_SHAPE_ARRAY;
  struct kf_node *node = kf_tree_new(r->tree, list ? KF_LIST : KF_MAP);
  if (list) read_list(r, node);
  else read_map(r, node);
  r->depth--;
  return node;
}

static struct kf_node *read_number(struct reader *r) {
  lua_State *L = r->tree->L;
  struct kf_node *node = kf_tree_new(r->tree, lua_isinteger(L, -1) ? KF_INTEGER : KF_DOUBLE);
  if (node->kind == KF_INTEGER) node->integer = lua_tointeger(L, -1);
  else node->number = lua_tonumber(L, -1);
  return node;
}

// Reads the value on top of the stack, which stays there.
static struct kf_node *read_value(struct reader *r) {
  lua_State *L = r->tree->L;
  struct kf_node *node;
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    node = kf_tree_new(r->tree, KF_TEXT);
    node->text = lua_tolstring(L, -1, &node->count);
    return node;
  case LUA_TNUMBER: return read_number(r);
  case LUA_TBOOLEAN:
    node = kf_tree_new(r->tree, KF_BOOL);
    node->boolean = lua_toboolean(L, -1);
    return node;
  case LUA_TTABLE: return read_table(r);
  default:
    if (!kf_is_null(L, -1)) fail(r, lua_pushfstring(L, "a %s is no JSON value", luaL_typename(L, -1)));
    return kf_tree_new(r->tree, KF_NULL);
  }
}

struct kf_node *kf_tree_read(struct kf_tree *tree, int index) {
  struct reader r;
  r.tree = tree;
  r.depth = 0;
  luaL_checkstack(tree->L, 4, "value");
  lua_pushvalue(tree->L, index);
  struct kf_node *node = read_value(&r);
  lua_pop(tree->L, 1);
  return node;
}

// --- writing ----------------------------------------------------------------------------------------

static void push_node(struct kf_tree *tree, const struct kf_node *node, size_t depth) {
  lua_State *L = tree->L;
  if (depth > KF_MAX_DEPTH) kf_fail(L, tree->code, "nested more than 500 deep");
  luaL_checkstack(L, 4, "value");
  switch (node->kind) {
  case KF_NULL: kf_push_null(L); return;
  case KF_BOOL: lua_pushboolean(L, node->boolean); return;
  case KF_INTEGER: lua_pushinteger(L, node->integer); return;
  case KF_DOUBLE: lua_pushnumber(L, node->number); return;
  case KF_TEXT: lua_pushlstring(L, node->text, node->count); return;
  case KF_LIST:
    lua_createtable(L, (int)node->count, 0);
    for (size_t i = 0; i < node->count; i++) {
      push_node(tree, node->items[i], depth + 1);
      lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    luaL_setmetatable(L, KF_ARRAY);
    return;
  case KF_MAP:
    lua_createtable(L, 0, (int)node->count);
    for (size_t i = 0; i < node->count; i++) {
      lua_pushlstring(L, node->members[i].key, node->members[i].length);
      push_node(tree, node->members[i].value, depth + 1);
      lua_rawset(L, -3);
    }
    luaL_setmetatable(L, KF_OBJECT);
  }
}

void kf_tree_push(struct kf_tree *tree, const struct kf_node *node) {
  push_node(tree, node, 0);
}

// --- building ---------------------------------------------------------------------------------------

static struct kf_node *copy_node(struct kf_tree *tree, const struct kf_node *node, size_t depth) {
  if (depth > KF_MAX_DEPTH) kf_fail(tree->L, tree->code, "nested more than 500 deep");
  struct kf_node *copy = kf_tree_new(tree, node->kind);
  *copy = *node;
  copy->capacity = node->count;
  if (node->kind == KF_LIST) {
    copy->items = kf_tree_alloc(tree, node->count * sizeof *copy->items);
    for (size_t i = 0; i < node->count; i++) copy->items[i] = copy_node(tree, node->items[i], depth + 1);
  } else if (node->kind == KF_MAP) {
    copy->members = kf_tree_alloc(tree, node->count * sizeof *copy->members);
    for (size_t i = 0; i < node->count; i++) {
      copy->members[i] = node->members[i];
      copy->members[i].value = copy_node(tree, node->members[i].value, depth + 1);
    }
  }
  return copy;
}

struct kf_node *kf_tree_copy(struct kf_tree *tree, const struct kf_node *node) {
  return copy_node(tree, node, 0);
}

void kf_list_insert(struct kf_tree *tree, struct kf_node *list, size_t at, struct kf_node *value) {
  if (list->count == list->capacity) {
    size_t capacity = list->capacity * 2 + 4;
    struct kf_node **items = kf_tree_alloc(tree, capacity * sizeof *items);
    if (list->count > 0) memcpy(items, list->items, list->count * sizeof *items);
    list->items = items;
    list->capacity = capacity;
  }
  memmove(list->items + at + 1, list->items + at, (list->count - at) * sizeof *list->items);
  list->items[at] = value;
  list->count++;
}

void kf_list_append(struct kf_tree *tree, struct kf_node *list, struct kf_node *value) {
  kf_list_insert(tree, list, list->count, value);
}

void kf_list_remove(struct kf_node *list, size_t at) {
  memmove(list->items + at, list->items + at + 1, (list->count - at - 1) * sizeof *list->items);
  list->count--;
}

// Where the key is, or where it belongs.
static size_t place_of(const struct kf_node *map, const char *key, size_t length, bool *found) {
  size_t low = 0, high = map->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const struct kf_member *member = &map->members[middle];
    int order = compare_keys(member->key, member->length, key, length);
    if (order == 0) return *found = true, middle;
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return *found = false, low;
}

struct kf_node *kf_map_get(const struct kf_node *map, const char *key, size_t length) {
  bool found;
  size_t at = place_of(map, key, length, &found);
  return found ? map->members[at].value : NULL;
}

struct kf_node *kf_map_find(const struct kf_node *map, const char *key) {
  return kf_map_get(map, key, strlen(key));
}

void kf_map_set(struct kf_tree *tree, struct kf_node *map, const char *key, size_t length,
                struct kf_node *value) {
  bool found;
  size_t at = place_of(map, key, length, &found);
  if (found) {
    map->members[at].value = value;
    return;
  }
  if (map->count == map->capacity) {
    size_t capacity = map->capacity * 2 + 4;
    struct kf_member *members = kf_tree_alloc(tree, capacity * sizeof *members);
    if (map->count > 0) memcpy(members, map->members, map->count * sizeof *members);
    map->members = members;
    map->capacity = capacity;
  }
  memmove(map->members + at + 1, map->members + at, (map->count - at) * sizeof *map->members);
  map->members[at] = (struct kf_member){key, length, value};
  map->count++;
}

bool kf_map_remove(struct kf_node *map, const char *key, size_t length) {
  bool found;
  size_t at = place_of(map, key, length, &found);
  if (!found) return false;
  memmove(map->members + at, map->members + at + 1, (map->count - at - 1) * sizeof *map->members);
  map->count--;
  return true;
}

// --- comparing --------------------------------------------------------------------------------------

static bool is_number(const struct kf_node *node) {
  return node->kind == KF_INTEGER || node->kind == KF_DOUBLE;
}

static bool same_number(const struct kf_node *a, const struct kf_node *b) {
  if (a->kind == KF_INTEGER && b->kind == KF_INTEGER) return a->integer == b->integer;
  if (a->kind == KF_DOUBLE && b->kind == KF_DOUBLE) return a->number == b->number;
  double number = a->kind == KF_DOUBLE ? a->number : b->number;
  int64_t integer = a->kind == KF_INTEGER ? a->integer : b->integer;
  return number >= -0x1p63 && number < 0x1p63 && (double)(int64_t)number == number && (int64_t)number == integer;
}

static bool same(const struct kf_node *a, const struct kf_node *b, size_t depth) {
  if (is_number(a) && is_number(b)) return same_number(a, b);
  if (a->kind != b->kind || a->count != b->count || depth > 2 * KF_MAX_DEPTH) return false;
  switch (a->kind) {
  case KF_BOOL: return a->boolean == b->boolean;
  case KF_TEXT: return memcmp(a->text, b->text, a->count) == 0;
  case KF_LIST:
    for (size_t i = 0; i < a->count; i++)
      if (!same(a->items[i], b->items[i], depth + 1)) return false;
    return true;
  case KF_MAP:
    for (size_t i = 0; i < a->count; i++)
      if (compare_members(&a->members[i], &b->members[i]) != 0 ||
          !same(a->members[i].value, b->members[i].value, depth + 1))
        return false;
    return true;
  default: return true;
  }
}

bool kf_node_equal(const struct kf_node *a, const struct kf_node *b) {
  return same(a, b, 0);
}

bool kf_text_is(const struct kf_node *node, const char *text) {
  return node && node->kind == KF_TEXT && strlen(text) == node->count && memcmp(node->text, text, node->count) == 0;
}

const char *kf_kind_name(enum kf_kind kind) {
  static const char *names[] = {"null", "bool", "number", "number", "text", "list", "map"};
  return names[kind];
}
