// JSON patch (RFC 6902) as the API server applies it: negative indices, replace of a member that is
// not there, operations without a value (null). What the RFC allows at the root is allowed too.
#include "kube.h"

#include "error.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

enum { COPY_LIMIT = 3 << 20 };  // what all copies of a patch may add, in bytes

struct text {
  const char *at;
  size_t length;
};

struct patcher {
  struct kf_tree tree;
  struct kf_node *root;
  size_t index;  // of the operation, from 1
  const struct kf_node *path;
  size_t copied;
};

// A place: the container and the name or index in it. At the root the container is NULL.
struct target {
  struct kf_node *container;
  struct text key;
};

// --- errors -------------------------------------------------------------------------------------------

static _Noreturn void fail(struct patcher *p, const char *message) {
  lua_State *L = p->tree.L;
  kf_error(L, "Patch", "%s", message);
  lua_pushinteger(L, (lua_Integer)p->index);
  lua_setfield(L, -2, "index");
  if (p->path) {
    lua_pushlstring(L, p->path->text, p->path->count);
    lua_setfield(L, -2, "path");
  }
  lua_error(L);
  abort();  // not reached
}

static const char *as_string(struct patcher *p, struct text text) {
  return lua_pushlstring(p->tree.L, text.at, text.length);
}

static const char *path_of(struct patcher *p) {
  return as_string(p, (struct text){p->path->text, p->path->count});
}

// --- pointers -----------------------------------------------------------------------------------------

// ~1 and ~0 in one go; any other ~ stays.
static struct text unescape(struct patcher *p, const char *token, size_t length) {
  if (!memchr(token, '~', length)) return (struct text){token, length};
  char *out = kf_tree_alloc(&p->tree, length);
  size_t written = 0;
  for (size_t i = 0; i < length; i++) {
    bool escape = token[i] == '~' && i + 1 < length && (token[i + 1] == '0' || token[i + 1] == '1');
    out[written++] = escape ? (token[i + 1] == '1' ? '/' : '~') : token[i];
    i += escape;
  }
  return (struct text){out, written};
}

// Go's strconv.Atoi; false with the error's text.
static bool read_index(struct patcher *p, struct text key, long *index, const char **problem) {
  size_t sign = key.length > 0 && (key.at[0] == '-' || key.at[0] == '+');
  bool digits = key.length > sign;
  for (size_t i = sign; i < key.length; i++) digits = digits && key.at[i] >= '0' && key.at[i] <= '9';
  const char *text = as_string(p, key);
  *problem = lua_pushfstring(p->tree.L, "strconv.Atoi: parsing \"%s\": invalid syntax", text);
  if (!digits) return false;
  errno = 0;
  *index = strtol(text, NULL, 10);
  *problem = lua_pushfstring(p->tree.L, "strconv.Atoi: parsing \"%s\": value out of range", text);
  return errno == 0;
}

// The place of an item among `count` places; negative ones count from the end.
static bool read_place(struct patcher *p, struct text key, size_t count, size_t *place, const char **problem) {
  long index = 0;
  if (!read_index(p, key, &index, problem)) return false;
  *problem = lua_pushfstring(p->tree.L, "Unable to access invalid index: %I: invalid index referenced",
                             (lua_Integer)index);
  if (index >= (long)count || index < -(long)count) return false;
  *place = (size_t)(index < 0 ? index + (long)count : index);
  *problem = NULL;
  return true;
}

// The value in a container; NULL when it is not there, `problem` then says so for a list.
static struct kf_node *get(struct patcher *p, struct target target, const char **problem) {
  size_t place;
  *problem = NULL;
  if (!target.container) return p->root;
  if (target.container->kind == KF_MAP)
    return kf_map_get(target.container, target.key.at, target.key.length);
  if (!read_place(p, target.key, target.container->count, &place, problem)) return NULL;
  return target.container->items[place];
}

static bool is_container(const struct kf_node *node) {
  return node && (node->kind == KF_MAP || node->kind == KF_LIST);
}

// Follows all tokens but the last; false when the way ends before.
static bool find(struct patcher *p, const struct kf_node *path, struct target *target) {
  const char *at = path->text, *end = at + path->count, *problem;
  *target = (struct target){0};
  if (at == end) return true;
  at = memchr(at, '/', path->count);  // what stands before the first one is not looked at
  if (!at) return false;
  struct kf_node *container = p->root;
  for (;;) {
    const char *token = at + 1;
    at = memchr(token, '/', (size_t)(end - token));
    *target = (struct target){container, unescape(p, token, (size_t)((at ? at : end) - token))};
    if (!is_container(container)) return false;
    if (!at) return true;
    int top = lua_gettop(p->tree.L);
    container = get(p, *target, &problem);
    lua_settop(p->tree.L, top);
  }
}

// --- changes ------------------------------------------------------------------------------------------

static const char *add(struct patcher *p, struct target target, struct kf_node *value) {
  size_t place;
  const char *problem;
  if (!target.container) {
    p->root = value;
  } else if (target.container->kind == KF_MAP) {
    kf_map_set(&p->tree, target.container, target.key.at, target.key.length, value);
  } else if (target.key.length == 1 && target.key.at[0] == '-') {
    kf_list_append(&p->tree, target.container, value);
  } else if (read_place(p, target.key, target.container->count + 1, &place, &problem)) {
    kf_list_insert(&p->tree, target.container, place, value);
  } else if (strstr(problem, "strconv")) {
    return lua_pushfstring(p->tree.L, "value was not a proper array index: '%s': %s", as_string(p, target.key),
                           problem);
  } else {
    return problem;
  }
  return NULL;
}

static const char *take_out(struct patcher *p, struct target target) {
  size_t place;
  const char *problem;
  if (target.container->kind == KF_MAP) {
    if (kf_map_remove(target.container, target.key.at, target.key.length)) return NULL;
    return lua_pushfstring(p->tree.L, "Unable to remove nonexistent key: %s: missing value",
                           as_string(p, target.key));
  }
  if (!read_place(p, target.key, target.container->count, &place, &problem)) return problem;
  kf_list_remove(target.container, place);
  return NULL;
}

// --- operations ---------------------------------------------------------------------------------------

static struct kf_node *value_of(struct patcher *p, const struct kf_node *op) {
  struct kf_node *value = kf_map_find(op, "value");
  return value ? kf_tree_copy(&p->tree, value) : kf_tree_new(&p->tree, KF_NULL);
}

// The pointer in a field of the operation; Go's texts say for some that the field is missing, for some not.
static const struct kf_node *pointer(struct patcher *p, const struct kf_node *op, const char *field) {
  const struct kf_node *value = kf_map_find(op, field), *kind = kf_map_find(op, "op");
  if (value && value->kind == KF_TEXT) return value;
  bool from = *field == 'f';
  bool detailed = kf_text_is(kind, "replace") || kf_text_is(kind, "move") || kf_text_is(kind, "test");
  fail(p, lua_pushfstring(p->tree.L, "%s operation failed to decode %s: %smissing value",
                          as_string(p, (struct text){kind->text, kind->count}), field,
                          from ? "operation, missing from field: "
                          : detailed ? "operation missing path field: " : ""));
}

static void do_add(struct patcher *p, const struct kf_node *op) {
  struct target target;
  if (!find(p, p->path, &target))
    fail(p, lua_pushfstring(p->tree.L, "add operation does not apply: doc is missing path: \"%s\": missing value",
                            path_of(p)));
  const char *problem = add(p, target, value_of(p, op));
  if (problem) fail(p, lua_pushfstring(p->tree.L, "error in add for path: '%s': %s", path_of(p), problem));
}

static void do_remove(struct patcher *p, const struct kf_node *op) {
  (void)op;
  struct target target;
  if (!find(p, p->path, &target) || !target.container)
    fail(p, lua_pushfstring(p->tree.L,
                            "remove operation does not apply: doc is missing path: \"%s\": missing value", path_of(p)));
  const char *problem = take_out(p, target);
  if (problem) fail(p, lua_pushfstring(p->tree.L, "error in remove for path: '%s': %s", path_of(p), problem));
}

static void do_replace(struct patcher *p, const struct kf_node *op) {
  struct target target;
  size_t place;
  const char *problem = NULL;
  if (!find(p, p->path, &target))
    fail(p, lua_pushfstring(p->tree.L, "replace operation does not apply: doc is missing path: %s: missing value",
                            path_of(p)));
  if (!target.container || target.container->kind == KF_MAP) {
    add(p, target, value_of(p, op));
  } else if (read_place(p, target.key, target.container->count, &place, &problem)) {
    target.container->items[place] = value_of(p, op);
  } else {
    fail(p, lua_pushfstring(p->tree.L, "replace operation does not apply: doc is missing key: %s: missing value",
                            path_of(p)));
  }
}

static void do_test(struct patcher *p, const struct kf_node *op) {
  struct target target;
  const char *problem;
  if (!find(p, p->path, &target))
    fail(p, lua_pushfstring(p->tree.L, "test operation does not apply: is missing path: %s: missing value",
                            path_of(p)));
  const struct kf_node *found = get(p, target, &problem), *expected = kf_map_find(op, "value");
  if (problem) fail(p, lua_pushfstring(p->tree.L, "error in test for path: '%s': %s", path_of(p), problem));
  bool none = !found || found->kind == KF_NULL, expects_none = !expected || expected->kind == KF_NULL;
  if (none ? !expects_none : expects_none || !kf_node_equal(found, expected))
    fail(p, lua_pushfstring(p->tree.L, "testing value %s failed: test failed", path_of(p)));
}

// What a from points at; NULL for a member that is not there. `problem` is a list's, or NULL.
static struct kf_node *get_from(struct patcher *p, const struct kf_node *from, const char *kind,
                                struct target *source, const char **problem) {
  if (!find(p, from, source))
    fail(p, lua_pushfstring(p->tree.L, "%s operation does not apply: doc is missing from path: %s: missing value",
                            kind, as_string(p, (struct text){from->text, from->count})));
  return get(p, *source, problem);
}

static const char *add_at_path(struct patcher *p, const char *kind, struct kf_node *value) {
  struct target target;
  if (!find(p, p->path, &target))
    fail(p, lua_pushfstring(p->tree.L,
                            "%s operation does not apply: doc is missing destination path: %s: missing value", kind,
                            path_of(p)));
  return add(p, target, value);
}

static void do_move(struct patcher *p, const struct kf_node *op) {
  struct target source;
  const char *problem;
  const struct kf_node *from = pointer(p, op, "from");
  struct kf_node *value = get_from(p, from, "move", &source, &problem);
  if (!source.container) {
    if (p->path->count == 0) return;
    fail(p, "move operation does not apply: a value cannot move into itself");
  }
  if (!problem) problem = take_out(p, source);
  if (problem)
    fail(p, lua_pushfstring(p->tree.L, "error in move for path: '%s': %s", as_string(p, source.key), problem));
  problem = add_at_path(p, "move", value);
  if (problem) fail(p, lua_pushfstring(p->tree.L, "error in move for path: '%s': %s", path_of(p), problem));
}

static size_t size_of(const struct kf_node *node) {
  size_t size = 4;
  if (node->kind == KF_TEXT) return node->count + 2;
  for (size_t i = 0; node->kind == KF_LIST && i < node->count; i++) size += size_of(node->items[i]) + 1;
  for (size_t i = 0; node->kind == KF_MAP && i < node->count; i++)
    size += node->members[i].length + 4 + size_of(node->members[i].value);
  return size;
}

static void check_copies(struct patcher *p, const struct kf_node *value) {
  p->copied += size_of(value);
  if (p->copied <= COPY_LIMIT) return;
  fail(p, lua_pushfstring(p->tree.L,
                          "error while performing deep copy: Unable to complete the copy, the accumulated size "
                          "increase of copy is %I, exceeding the limit %I",
                          (lua_Integer)p->copied, (lua_Integer)COPY_LIMIT));
}

static void do_copy(struct patcher *p, const struct kf_node *op) {
  struct target source;
  const char *problem;
  const struct kf_node *from = pointer(p, op, "from");
  struct kf_node *value = get_from(p, from, "copy", &source, &problem);
  if (problem)
    fail(p, lua_pushfstring(p->tree.L, "error in copy for from: '%s': %s",
                            as_string(p, (struct text){from->text, from->count}), problem));
  value = value ? kf_tree_copy(&p->tree, value) : kf_tree_new(&p->tree, KF_NULL);
  check_copies(p, value);
  problem = add_at_path(p, "copy", value);
  if (problem) fail(p, lua_pushfstring(p->tree.L, "error while adding value during copy: %s", problem));
}

static const struct {
  const char *name;
  void (*apply)(struct patcher *p, const struct kf_node *op);
} operations[] = {{"add", do_add},   {"remove", do_remove}, {"replace", do_replace},
                  {"move", do_move}, {"copy", do_copy},     {"test", do_test}};

static void apply(struct patcher *p, const struct kf_node *op) {
  int top = lua_gettop(p->tree.L);
  luaL_checkstack(p->tree.L, 40, "patch");
  p->path = NULL;
  if (op->kind != KF_MAP) fail(p, "an operation must be an object");
  const struct kf_node *kind = kf_map_find(op, "op"), *path = kf_map_find(op, "path");
  if (path && path->kind == KF_TEXT) p->path = path;
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
    if (!kf_text_is(kind, operations[i].name)) continue;
    if (!p->path) pointer(p, op, "path");
    operations[i].apply(p, op);
    lua_settop(p->tree.L, top);
    return;
  }
  bool named = kind && kind->kind == KF_TEXT;
  fail(p, lua_pushfstring(p->tree.L, "Unexpected kind: %s",
                          named ? as_string(p, (struct text){kind->text, kind->count}) : "unknown"));
}

int kf_patch_json(lua_State *L) {
  struct patcher p = {.copied = 0};
  luaL_checkany(L, 1);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  kf_tree_open(L, &p.tree, "Patch");
  p.root = kf_tree_read(&p.tree, 1);
  const struct kf_node *ops = kf_tree_read(&p.tree, 2);
  bool none = ops->kind == KF_NULL || (ops->kind == KF_MAP && ops->count == 0);  // {} of Lua may be a list
  if (ops->kind != KF_LIST && !none) fail(&p, "a JSON patch is a list of operations");
  for (size_t i = 0; !none && i < ops->count; i++) {
    p.index = i + 1;
    apply(&p, ops->items[i]);
  }
  kf_tree_push(&p.tree, p.root);
  return 1;
}
