// The operations of a diff: where it is in the document, and what it adds to the patch.
#include "diff.h"

#include "values.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

// --- the path -------------------------------------------------------------------------------------------

static void put(struct differ *d, const char *text, size_t length) {
  if (d->length + length > d->capacity) {
    size_t capacity = (d->length + length) * 2 + 64;
    char *path = kf_tree_alloc(&d->tree, capacity);
    if (d->length > 0) memcpy(path, d->path, d->length);
    d->path = path;
    d->capacity = capacity;
  }
  memcpy(d->path + d->length, text, length);
  d->length += length;
}

void kf_diff_key(struct differ *d, const char *key, size_t length) {
  put(d, "/", 1);
  for (size_t i = 0; i < length; i++) {
    if (key[i] == '~') put(d, "~0", 2);
    else if (key[i] == '/') put(d, "~1", 2);
    else put(d, key + i, 1);
  }
}

void kf_diff_index(struct differ *d, size_t index) {
  char text[24];
  put(d, text, (size_t)snprintf(text, sizeof text, "/%zu", index));
}

void kf_diff_emit(struct differ *d, const char *op, const struct kf_node *value) {
  lua_State *L = d->tree.L;
  luaL_checkstack(L, 4, "diff");
  lua_createtable(L, 0, 3);
  lua_pushstring(L, op);
  lua_setfield(L, -2, "op");
  lua_pushlstring(L, d->path ? d->path : "", d->length);
  lua_setfield(L, -2, "path");
  if (value) {
    kf_tree_push(&d->tree, value);
    lua_setfield(L, -2, "value");
  }
  luaL_setmetatable(L, KF_OBJECT);
  lua_rawseti(L, d->ops, (lua_Integer)lua_rawlen(L, d->ops) + 1);
}
