// kube.jsonpath: evaluates a template as kubectl does, and prints what it finds as kubectl does.
#include "jsonpath.h"
#include "kube.h"

#include "base/buffer.h"
#include "error.h"
#include "values.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RESULTS = 2000000 };

// What a piece finds. An item that is NULL is Go's invalid value: nothing was there to begin with.
struct found {
  const struct kf_node **items;
  size_t count, capacity;
};
struct finding {
  struct kf_tree tree;
  const struct kf_path *root;
  bool strict;
  const char *error;  // set when a piece fails; what it found till then still counts for [?(exists)]
  int begun, inside, ended;
  size_t last_end;  // index of the {end} seen last
  size_t total;
  struct found *results;  // of all pieces, in order
  size_t results_count, results_capacity;
};

static _Noreturn void raise_message(lua_State *L, const char *message) {
  kf_fail(L, "JSONPath", "%s", message);
  abort();  // not reached
}

static void add(struct finding *f, struct found *found, const struct kf_node *node) {
  if (++f->total > MOST_RESULTS) raise_message(f->tree.L, "too many results");
  if (found->count == found->capacity) {
    size_t capacity = found->capacity * 2 + 4;
    const struct kf_node **items = kf_tree_alloc(&f->tree, capacity * sizeof *items);
    if (found->count > 0) memcpy(items, found->items, found->count * sizeof *items);
    found->items = items;
    found->capacity = capacity;
  }
  found->items[found->count++] = node;
}

static void add_all(struct finding *f, struct found *found, const struct found *more) {
  for (size_t i = 0; i < more->count; i++) add(f, found, more->items[i]);
}

// Notes an error; the text stays on Lua's stack until the call ends.
static struct found failed(struct finding *f, struct found found, const char *message) {
  luaL_checkstack(f->tree.L, 20, "JSONPath");
  f->error = message;
  return found;
}

static bool is_nil(const struct kf_node *node) {
  return node && node->kind == KF_NULL;
}

static const char *text_of(struct finding *f, const struct kf_path *path) {
  luaL_checkstack(f->tree.L, 20, "JSONPath");
  return lua_pushlstring(f->tree.L, path->text, path->length);
}

// --- pieces -----------------------------------------------------------------------------------------

static struct found evaluate(struct finding *f, struct found input, const struct kf_path *path);

static struct found field(struct finding *f, struct found input, const struct kf_path *path) {
  struct found found = {0};
  if (input.count == 0) return found;
  for (size_t i = 0; i < input.count; i++) {
    const struct kf_node *node = input.items[i];
    if (!node || node->kind != KF_MAP) continue;
    const struct kf_node *value = kf_map_get(node, path->text, path->length);
    if (value) add(f, &found, value);
  }
  if (found.count == 0 && f->strict)
    return failed(f, found, lua_pushfstring(f->tree.L, "%s is not found", text_of(f, path)));
  return found;
}

static const char *go_type_name(const struct kf_node *node) {
  static const char *const names[] = {"<nil>", "bool", "int64", "float64", "string", "[]interface {}",
                                      "map[string]interface {}"};
  return names[node->kind];
}

// The bounds of a slice of `length` items; the message of an error, or NULL.
static const char *place_bounds(struct finding *f, const struct kf_path *path, long length, long *from, long *to) {
  const struct kf_path_bound *bounds = path->bounds;
  *from = bounds[0].known ? bounds[0].value : 0;
  if (*from < 0) *from += length;
  *to = bounds[1].known ? bounds[1].value : length;
  if (*to < 0 || (*to == 0 && bounds[1].derived)) *to += length;
  luaL_checkstack(f->tree.L, 20, "JSONPath");
  if (*to == *from) return NULL;
  if (*from >= length || *from < 0)
    return lua_pushfstring(f->tree.L, "array index out of bounds: index %I, length %I", (lua_Integer)*from,
                           (lua_Integer)length);
  if (*to > length || *to < 0)
    return lua_pushfstring(f->tree.L, "array index out of bounds: index %I, length %I", (lua_Integer)(*to - 1),
                           (lua_Integer)length);
  if (*from > *to)
    return lua_pushfstring(f->tree.L, "starting index %I is greater than ending index %I", (lua_Integer)*from,
                           (lua_Integer)*to);
  if (bounds[2].known && bounds[2].value <= 0) return "step must be > 0";
  return NULL;
}

static struct found array(struct finding *f, struct found input, const struct kf_path *path) {
  struct found found = {0};
  for (size_t i = 0; i < input.count; i++) {
    const struct kf_node *node = input.items[i];
    long from, to, step = path->bounds[2].known ? path->bounds[2].value : 1;
    if (!node || is_nil(node)) continue;
    if (node->kind != KF_LIST)
      return failed(f, input, lua_pushfstring(f->tree.L, "%s is not array or slice", go_type_name(node)));
    const char *problem = place_bounds(f, path, (long)node->count, &from, &to);
    if (problem) return failed(f, input, problem);
    if (from == to) return found;
    for (; from < to; from += step) add(f, &found, node->items[from]);
  }
  return found;
}

// All values in a value: of a map in the order of its keys; the bytes of a text, as Go has it.
static struct found children(struct finding *f, const struct kf_node *node) {
  struct found found = {0};
  for (size_t i = 0; node && i < node->count; i++) {
    if (node->kind == KF_MAP) {
      add(f, &found, node->members[i].value);
    } else if (node->kind == KF_LIST) {
      add(f, &found, node->items[i]);
    } else if (node->kind == KF_TEXT) {
      struct kf_node *byte = kf_tree_new(&f->tree, KF_INTEGER);
      byte->integer = (unsigned char)node->text[i];
      add(f, &found, byte);
    }
  }
  return found;
}

static struct found wildcard(struct finding *f, struct found input) {
  struct found found = {0};
  for (size_t i = 0; i < input.count; i++) {
    struct found inner = children(f, input.items[i]);
    add_all(f, &found, &inner);
  }
  return found;
}

// Every value that holds others, each before what is in it.
static void descend(struct finding *f, struct found *found, const struct found *input) {
  for (size_t i = 0; i < input->count; i++) {
    struct found inner = children(f, input->items[i]);
    if (inner.count == 0) continue;
    add(f, found, input->items[i]);
    descend(f, found, &inner);
  }
}

static struct found recursive(struct finding *f, struct found input) {
  struct found found = {0};
  descend(f, &found, &input);
  return found;
}

static struct found choice(struct finding *f, struct found input, const struct kf_path *path) {
  struct found found = {0};
  for (size_t i = 0; i < path->count; i++) {
    struct found inner = evaluate(f, input, path->children[i]);
    if (f->error) return input;
    add_all(f, &found, &inner);
  }
  return found;
}

// --- filters ----------------------------------------------------------------------------------------

// -1, 0, 1; the message when the two cannot be compared.
static const char *compare(const struct kf_node *a, const struct kf_node *b, bool order, int *result) {
  if (!a || !b || a->kind == KF_NULL || b->kind == KF_NULL || a->kind == KF_LIST || b->kind == KF_LIST ||
      a->kind == KF_MAP || b->kind == KF_MAP)
    return "invalid type for comparison";
  if (a->kind != b->kind) return "incompatible types for comparison";
  switch (a->kind) {
  case KF_BOOL:
    *result = a->boolean != b->boolean;
    return order ? "invalid type for comparison" : NULL;
  case KF_INTEGER: *result = (a->integer > b->integer) - (a->integer < b->integer); return NULL;
  case KF_DOUBLE: *result = (a->number > b->number) - (a->number < b->number); return NULL;
  default:
    *result = memcmp(a->text, b->text, a->count < b->count ? a->count : b->count);
    if (*result == 0) *result = (a->count > b->count) - (a->count < b->count);
    return NULL;
  }
}

static bool is_operator(const struct kf_path *path, const char *operator) {
  return path->length == strlen(operator) && memcmp(path->text, operator, path->length) == 0;
}

// Whether the item passes; f->error when the two sides cannot be compared.
static bool passes(struct finding *f, const struct kf_path *path, const struct kf_node *left,
                   const struct kf_node *right) {
  int result = 0;
  bool equality = is_operator(path, "==") || is_operator(path, "!=");
  bool known = equality || is_operator(path, "<") || is_operator(path, ">") || is_operator(path, "<=") ||
               is_operator(path, ">=");
  if (!known) {
    f->error = lua_pushfstring(f->tree.L, "unrecognized filter operator %s", text_of(f, path));
    return false;
  }
  f->error = compare(left, right, !equality, &result);
  if (f->error) return false;
  if (path->text[0] == '=') return result == 0;
  if (path->text[0] == '!') return result != 0;
  if (path->length == 2 && result == 0) return true;
  return path->text[0] == '<' ? result < 0 : result > 0;
}

// One side of a comparison; false when there is nothing to compare, or an error.
static bool side(struct finding *f, struct found values, const struct kf_node **value) {
  if (f->error || values.count == 0) return false;
  if (values.count > 1) {
    f->error = "can only compare one element at a time";
    return false;
  }
  *value = values.items[0];
  return true;
}

static bool keeps(struct finding *f, const struct kf_path *path, const struct kf_node *item) {
  struct found one = {0};
  const struct kf_node *left, *right;
  add(f, &one, item);
  struct found lefts = evaluate(f, one, path->children[0]);
  if (path->count == 1) {
    f->error = NULL;
    return lefts.count > 0;
  }
  if (!side(f, lefts, &left) || !side(f, evaluate(f, one, path->children[1]), &right)) return false;
  return passes(f, path, left, right);
}

static struct found filter(struct finding *f, struct found input, const struct kf_path *path) {
  struct found found = {0};
  for (size_t i = 0; i < input.count; i++) {
    const struct kf_node *node = input.items[i];
    if (!node || node->kind != KF_LIST) {
      luaL_checkstack(f->tree.L, 20, "JSONPath");
      if (node) kf_go_value(f->tree.L, node);
      else lua_pushliteral(f->tree.L, "<nil>");
      const char *value = lua_tostring(f->tree.L, -1);
      return failed(f, input, lua_pushfstring(f->tree.L, "%s is not array or slice and cannot be filtered", value));
    }
    for (size_t j = 0; j < node->count; j++) {
      bool kept = keeps(f, path, node->items[j]);
      if (f->error) return input;
      if (kept) add(f, &found, node->items[j]);
    }
  }
  return found;
}

// --- words, lists -----------------------------------------------------------------------------------

static struct found word(struct finding *f, struct found input, const struct kf_path *path) {
  struct found none = {0};
  if (is_operator(path, "range")) {
    f->begun++;
    return input;
  }
  if (!is_operator(path, "end"))
    return failed(f, input, lua_pushfstring(f->tree.L, "unrecognized identifier %s", text_of(f, path)));
  if (f->inside == 0) return failed(f, none, "not in range, nothing to end");
  f->ended++;
  return none;
}

static struct found text(struct finding *f, const struct kf_path *path) {
  struct found found = {0};
  add(f, &found, kf_tree_text(&f->tree, path->text, path->length));
  return found;
}

static struct found list(struct finding *f, struct found input, const struct kf_path *path) {
  for (size_t i = 0; i < path->count && !f->error; i++) input = evaluate(f, input, path->children[i]);
  return input;
}

static struct found constant(struct finding *f, struct found input, const struct kf_path *path) {
  struct found found = {0};
  for (size_t i = 0; i < input.count; i++) add(f, &found, path->value);
  return found;
}

static struct found evaluate(struct finding *f, struct found input, const struct kf_path *path) {
  switch (path->kind) {
  case KF_PATH_LIST: return list(f, input, path);
  case KF_PATH_TEXT: return text(f, path);
  case KF_PATH_FIELD: return field(f, input, path);
  case KF_PATH_ARRAY: return array(f, input, path);
  case KF_PATH_FILTER: return filter(f, input, path);
  case KF_PATH_VALUE: return constant(f, input, path);
  case KF_PATH_WILDCARD: return wildcard(f, input);
  case KF_PATH_RECURSIVE: return recursive(f, input);
  case KF_PATH_UNION: return choice(f, input, path);
  default: return word(f, input, path);
  }
}

// --- ranges -----------------------------------------------------------------------------------------

static void keep(struct finding *f, struct found found) {
  if (f->results_count == f->results_capacity) {
    size_t capacity = f->results_capacity * 2 + 8;
    struct found *results = kf_tree_alloc(&f->tree, capacity * sizeof *results);
    if (f->results_count > 0) memcpy(results, f->results, f->results_count * sizeof *results);
    f->results = results;
    f->results_capacity = capacity;
  }
  f->results[f->results_count++] = found;
}

// Evaluates the pieces from `first` on with a value; a range runs those after it once for each item.
static void find(struct finding *f, size_t first, const struct kf_node *value, int depth) {
  struct found start = {0};
  if (depth > 100) raise_message(f->tree.L, "ranges nested too deep");
  add(f, &start, value);
  for (size_t i = first; i < f->root->count; i++) {
    struct found found = evaluate(f, start, f->root->children[i]);
    if (f->error) raise_message(f->tree.L, f->error);
    if (f->ended > 0 && f->ended <= f->inside) {
      f->ended--;
      f->last_end = i;
      return;
    }
    if (f->begun == 0) {
      keep(f, found);
      continue;
    }
    f->begun--;
    f->inside++;
    for (size_t j = 0; j < found.count; j++) find(f, i + 1, is_nil(found.items[j]) ? NULL : found.items[j], depth + 1);
    if (found.count == 0) {
      size_t kept = f->results_count;  // only to find the range's end
      find(f, i + 1, NULL, depth + 1);
      f->results_count = kept;
    }
    f->inside--;
    if (f->last_end > i && f->last_end < f->root->count) i = f->last_end;
  }
}

// --- printing ---------------------------------------------------------------------------------------

static void put_json(struct kf_buffer *out, const struct kf_node *node);

// As Go's encoder has it: < > & and the line separators of JavaScript are escaped.
static void put_json_text(struct kf_buffer *out, const char *at, size_t length) {
  static const char digits[] = "0123456789abcdef";
  kf_buffer_add_char(out, '"');
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)at[i];
    const char *named = c ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", c) : NULL;
    if (c == 0xe2 && length - i > 2 && (unsigned char)at[i + 1] == 0x80 && ((unsigned char)at[i + 2] & 0xfe) == 0xa8) {
      kf_buffer_add_text(out, at[i + 2] & 1 ? "\\u2029" : "\\u2028");
      i += 2;
    } else if (named && (c < 0x20 || c == '"' || c == '\\')) {
      kf_buffer_add_char(out, '\\');
      kf_buffer_add_char(out, named[1]);
    } else if (c < 0x20 || c == '<' || c == '>' || c == '&') {
      kf_buffer_add_text(out, "\\u00");
      kf_buffer_add_char(out, digits[c >> 4]);
      kf_buffer_add_char(out, digits[c & 15]);
    } else {
      kf_buffer_add_char(out, at[i]);
    }
  }
  kf_buffer_add_char(out, '"');
}

static void put_json_items(struct kf_buffer *out, const struct kf_node *node) {
  kf_buffer_add_char(out, node->kind == KF_LIST ? '[' : '{');
  for (size_t i = 0; i < node->count; i++) {
    if (i > 0) kf_buffer_add_char(out, ',');
    if (node->kind == KF_MAP) {
      put_json_text(out, node->members[i].key, node->members[i].length);
      kf_buffer_add_char(out, ':');
    }
    put_json(out, node->kind == KF_MAP ? node->members[i].value : node->items[i]);
  }
  kf_buffer_add_char(out, node->kind == KF_LIST ? ']' : '}');
}

static void put_json(struct kf_buffer *out, const struct kf_node *node) {
  char number[KF_NUMBER_SIZE];
  switch (node->kind) {
  case KF_NULL: kf_buffer_add_text(out, "null"); break;
  case KF_BOOL: kf_buffer_add_text(out, node->boolean ? "true" : "false"); break;
  case KF_INTEGER: kf_buffer_add(out, number, kf_number_write_integer(number, node->integer)); break;
  case KF_DOUBLE: kf_buffer_add(out, number, kf_number_write(number, node->number)); break;
  case KF_TEXT: put_json_text(out, node->text, node->count); break;
  default: put_json_items(out, node);
  }
}

static void put_value(struct kf_buffer *out, const struct kf_node *node) {
  char number[KF_NUMBER_SIZE];
  if (!node) kf_buffer_add_text(out, "<no value>");
  else if (node->kind == KF_TEXT) kf_buffer_add(out, node->text, node->count);
  else if (node->kind == KF_DOUBLE) kf_buffer_add(out, number, kf_go_double(number, node->number));
  else put_json(out, node);
}

static int l_buffer_gc(lua_State *L) {
  kf_buffer_free(lua_touserdata(L, 1));
  return 0;
}

// [-0, +1, m] a buffer that is freed with its userdata.
static struct kf_buffer *push_buffer(lua_State *L) {
  struct kf_buffer *out = lua_newuserdatauv(L, sizeof *out, 0);
  *out = (struct kf_buffer){0};
  if (luaL_newmetatable(L, "kfhost.kube.buffer")) {
    lua_pushcfunction(L, l_buffer_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return out;
}

// [-0, +1, m] pushes the text that kubectl prints.
static void push_text(struct finding *f) {
  struct kf_buffer *out = push_buffer(f->tree.L);
  for (size_t i = 0; i < f->results_count; i++) {
    for (size_t j = 0; j < f->results[i].count; j++) {
      if (j > 0) kf_buffer_add_char(out, ' ');
      put_value(out, f->results[i].items[j]);
    }
  }
  if (out->failed) luaL_error(f->tree.L, "not enough memory");
  lua_pushlstring(f->tree.L, out->data, out->length);
  kf_buffer_free(out);
}

// [-0, +1, m] pushes the list of all values found.
static void push_values(struct finding *f) {
  lua_State *L = f->tree.L;
  lua_Integer count = 0;
  lua_newtable(L);
  luaL_setmetatable(L, KF_ARRAY);
  for (size_t i = 0; i < f->results_count; i++) {
    for (size_t j = 0; j < f->results[i].count; j++) {
      if (f->results[i].items[j]) kf_tree_push(&f->tree, f->results[i].items[j]);
      else kf_push_null(L);
      lua_rawseti(L, -2, ++count);
    }
  }
}

// A template without braces is the inside of one: .metadata.name is {.metadata.name}.
static const char *with_braces(lua_State *L, const char *template, size_t *length) {
  if (*length == 0 || memchr(template, '{', *length) || memchr(template, '}', *length)) return template;
  const char *dot = strchr(".[$@", *template) ? "" : ".";
  lua_pushfstring(L, "{%s%s}", dot, template);
  lua_replace(L, 1);
  return lua_tolstring(L, 1, length);
}

int kf_jsonpath(lua_State *L) {
  struct finding f = {.last_end = SIZE_MAX};
  size_t length;
  const char *template = luaL_checklstring(L, 1, &length);
  luaL_checkany(L, 2);
  lua_settop(L, 3);
  if (!lua_isnil(L, 3)) {
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_getfield(L, 3, "strict");
    f.strict = lua_toboolean(L, -1);
  }
  template = with_braces(L, template, &length);
  kf_tree_open(L, &f.tree, "JSONPath");
  f.root = kf_jsonpath_parse(&f.tree, template, length);
  const struct kf_node *object = kf_tree_read(&f.tree, 2);
  find(&f, 0, is_nil(object) ? NULL : object, 0);
  luaL_checkstack(L, 20, "JSONPath");
  push_text(&f);
  push_values(&f);
  return 2;
}
