// Evaluating nodes. An error is a value that passes through everything but || && ?: and loops.
#include "cel.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

void cel_spend(struct cel_run *run, uint64_t cost) {
  run->cost += cost;
  if (run->cost > run->limit) cel_raise(run->tree.L, run->offset, "actual cost limit exceeded");
}

static struct cel_value evaluate(struct cel_run *run, const struct cel_node *node) {
  return cel_evaluate(run, node);
}

// --- names and fields -----------------------------------------------------------------------------------

static struct cel_value find_name(struct cel_run *run, const struct cel_node *node) {
  for (const struct cel_scope *scope = run->scope; scope; scope = scope->outer)
    if (scope->length == node->length && memcmp(scope->name, node->text, node->length) == 0) return scope->value;
  const struct kf_node *found = kf_map_get(run->variables, node->text, node->length);
  if (found) return cel_of_node(found, run);
  lua_pushlstring(run->tree.L, node->text, node->length);
  struct cel_value error = cel_error(run, "no such attribute(s): %s", lua_tostring(run->tree.L, -1));
  lua_pop(run->tree.L, 1);
  return error;
}

// Kubernetes writes field names that are no identifiers with escapes: __dot__, __dash__, __namespace__.
static size_t unescape(const char *name, size_t length, char *out) {
  static const char *const escapes[][2] = {{"__underscores__", "__"}, {"__dot__", "."}, {"__dash__", "-"}, {"__slash__", "/"}};
  size_t written = 0;
  if (length > 4 && memcmp(name, "__", 2) == 0 && memcmp(name + length - 2, "__", 2) == 0 &&
      !memchr(name + 2, '_', length - 4)) {
    memcpy(out, name + 2, length - 4);  // a reserved word
    return length - 4;
  }
  for (size_t i = 0; i < length;) {
    size_t used = 0;
    for (size_t j = 0; j < sizeof escapes / sizeof *escapes && used == 0; j++) {
      size_t size = strlen(escapes[j][0]);
      if (length - i < size || memcmp(name + i, escapes[j][0], size) != 0) continue;
      memcpy(out + written, escapes[j][1], strlen(escapes[j][1]));
      written += strlen(escapes[j][1]);
      used = size;
    }
    if (used == 0) out[written++] = name[i];
    i += used ? used : 1;
  }
  return written;
}

static bool find_field(struct cel_run *run, const struct cel_map *map, const struct cel_node *node,
                       struct cel_value *value) {
  struct cel_value key = cel_string(node->text, node->length);
  if (cel_lookup(run, map, &key, value)) return true;
  if (node->length < 5 || !map->node || !strstr(node->text, "__")) return false;
  char *name = kf_tree_alloc(&run->tree, node->length);
  key = cel_string(name, unescape(node->text, node->length, name));
  return cel_lookup(run, map, &key, value);
}

static struct cel_value no_such_key(struct cel_run *run, const struct cel_value *key) {
  struct cel_value text;
  if (!cel_write(run, key, &text)) text = cel_text(cel_type_name(key));
  lua_pushlstring(run->tree.L, text.text, text.length);
  struct cel_value error = cel_error(run, "no such key: %s", lua_tostring(run->tree.L, -1));
  lua_pop(run->tree.L, 1);
  return error;
}

static struct cel_value select_field(struct cel_run *run, const struct cel_node *node) {
  struct cel_value target = evaluate(run, node->children[0]), value;
  bool test = node->kind == CEL_HAS, optional = node->optional || target.type == CEL_OPTIONAL;
  run->offset = node->offset;
  if (target.type == CEL_ERROR) return target;
  if (target.type == CEL_OPTIONAL) {
    if (!target.inner) return test ? cel_bool(false) : target;
    target = *target.inner;
  }
  if (target.type != CEL_MAP) {
    if (test && target.type == CEL_NULL) return cel_bool(false);
    return cel_error(run, "type '%s' does not support field selection", cel_type_name(&target));
  }
  bool found = find_field(run, target.map, node, &value);
  if (test) return cel_bool(found);
  if (optional) return cel_optional(run, found ? &value : NULL);
  if (found) return value;
  struct cel_value key = cel_string(node->text, node->length);
  return no_such_key(run, &key);
}

// The place that an index names in a list of `count` items; false when it is no integer.
static bool to_place(const struct cel_value *index, int64_t *place) {
  if (index->type == CEL_UINT) return *place = index->natural > INT64_MAX ? INT64_MAX : (int64_t)index->natural, true;
  if (index->type == CEL_INT) return *place = index->integer, true;
  if (index->type != CEL_DOUBLE || index->number < -0x1p62 || index->number > 0x1p62) return false;
  *place = (int64_t)index->number;
  return (double)*place == index->number;
}

// The item or member; what is missing is an error, or no optional.
static struct cel_value find_index(struct cel_run *run, const struct cel_value *target, const struct cel_value *index,
                                   bool optional) {
  struct cel_value value;
  int64_t place;
  if (target->type == CEL_MAP) {
    bool key_type = index->type == CEL_STRING || index->type == CEL_BOOL || index->type == CEL_INT ||
                    index->type == CEL_UINT || index->type == CEL_DOUBLE;
    if (!key_type) return cel_no_overload(run);
    if (!cel_lookup(run, target->map, index, &value))
      return optional ? cel_optional(run, NULL) : no_such_key(run, index);
  } else if (target->type == CEL_LIST) {
    if (!to_place(index, &place))
      return cel_error(run, "unsupported index type '%s' in list", cel_type_name(index));
    if (place < 0 || place >= (int64_t)target->list->count) {
      if (optional) return cel_optional(run, NULL);
      return cel_error(run, "index out of bounds: %I", (lua_Integer)place);
    }
    value = cel_item(run, target->list, (size_t)place);
  } else {
    return cel_no_overload(run);
  }
  return optional ? cel_optional(run, &value) : value;
}

static struct cel_value index_into(struct cel_run *run, const struct cel_node *node) {
  struct cel_value target = evaluate(run, node->children[0]);
  if (target.type == CEL_ERROR) return target;
  struct cel_value index = evaluate(run, node->children[1]);
  run->offset = node->offset;
  if (index.type == CEL_ERROR) return index;
  bool optional = node->optional || target.type == CEL_OPTIONAL;
  if (target.type == CEL_OPTIONAL) {
    if (!target.inner) return target;
    target = *target.inner;
  }
  return find_index(run, &target, &index, optional);
}

// --- calls ----------------------------------------------------------------------------------------------

enum { MOST_ARGUMENTS = 8 };

// or() and orValue() look at their argument only when they need it.
static bool is_settled(const struct cel_node *node, const struct cel_value *target, struct cel_value *value) {
  bool lazy = strcmp(node->function->name, "or") == 0 || strcmp(node->function->name, "orValue") == 0;
  if (!lazy || target->type != CEL_OPTIONAL || !target->inner) return false;
  *value = node->length == 2 ? *target : *target->inner;
  return true;
}

static struct cel_value call(struct cel_run *run, const struct cel_node *node) {
  struct cel_value arguments[MOST_ARGUMENTS], value;
  for (size_t i = 0; i < node->count; i++) {
    arguments[i] = evaluate(run, node->children[i]);
    if (arguments[i].type == CEL_ERROR) return arguments[i];
    if (i == 0 && is_settled(node, &arguments[0], &value)) return value;
  }
  run->offset = node->offset;
  return node->function->function(run, arguments, node->count);
}

// --- logic ----------------------------------------------------------------------------------------------

// The value that decides (true for ||, false for &&) wins over errors, wherever they are.
static struct cel_value logic(struct cel_run *run, const struct cel_node *node) {
  bool decisive = node->kind == CEL_OR;
  struct cel_value error = {.type = CEL_NULL};
  for (size_t i = 0; i < node->count; i++) {
    struct cel_value value = evaluate(run, node->children[i]);
    if (value.type == CEL_BOOL && value.boolean == decisive) return value;
    run->offset = node->offset;
    if (value.type != CEL_BOOL && error.type != CEL_ERROR)
      error = value.type == CEL_ERROR ? value : cel_no_overload(run);
  }
  return error.type == CEL_ERROR ? error : cel_bool(!decisive);
}

static struct cel_value choice(struct cel_run *run, const struct cel_node *node) {
  struct cel_value condition = evaluate(run, node->children[0]);
  if (condition.type == CEL_ERROR) return condition;
  run->offset = node->offset;
  if (condition.type != CEL_BOOL) return cel_no_overload(run);
  return evaluate(run, node->children[condition.boolean ? 1 : 2]);
}

// --- literals -------------------------------------------------------------------------------------------

// For ?x: the value of an optional; false when it has none or the item is to be left out.
static bool unwrap(struct cel_run *run, struct cel_value *value) {
  if (value->type == CEL_ERROR) return true;
  if (value->type != CEL_OPTIONAL) {
    *value = cel_error(run, "cannot initialize optional list element from non-optional value");
    return true;
  }
  if (!value->inner) return false;
  *value = *value->inner;
  return true;
}

static struct cel_value make_list(struct cel_run *run, const struct cel_node *node) {
  struct cel_builder items = {0};
  for (size_t i = 0; i < node->count; i++) {
    struct cel_value value = evaluate(run, node->children[i]->children[0]);
    if (node->children[i]->optional && !unwrap(run, &value)) continue;
    if (value.type == CEL_ERROR) return value;
    cel_append(run, &items, value);
  }
  return cel_finish(run, &items);
}

static bool is_key(const struct cel_value *value) {
  return value->type == CEL_STRING || value->type == CEL_BOOL || value->type == CEL_INT || value->type == CEL_UINT;
}

static struct cel_value make_map(struct cel_run *run, const struct cel_node *node) {
  struct cel_builder keys = {0}, values = {0};
  for (size_t i = 0; i < node->count; i++) {
    struct cel_value key = evaluate(run, node->children[i]->children[0]);
    if (key.type == CEL_ERROR) return key;
    struct cel_value value = evaluate(run, node->children[i]->children[1]);
    run->offset = node->children[i]->offset;
    if (!is_key(&key)) return cel_error(run, "unsupported key type");
    if (node->children[i]->optional && !unwrap(run, &value)) continue;
    if (value.type == CEL_ERROR) return value;
    for (size_t j = 0; j < keys.count; j++)
      if (cel_equal(run, &keys.items[j], &key)) return cel_error(run, "Failed with repeated key");
    cel_append(run, &keys, key);
    cel_append(run, &values, value);
  }
  return cel_finish_map(run, &keys, &values);
}

// --- loops ----------------------------------------------------------------------------------------------

struct loop {
  const struct cel_node *node;
  struct cel_value range;
  struct cel_scope first, second;
  struct cel_builder keys, results;
  struct cel_value error;
  size_t hits;
};

static size_t range_size(const struct cel_value *range) {
  return range->type == CEL_LIST ? range->list->count : range->map->count;
}

// Sets the variables for an item: with one, a map's key; with two, index or key, and value.
static void set_variables(struct cel_run *run, struct loop *loop, size_t i) {
  bool is_list = loop->range.type == CEL_LIST, two = loop->node->second != NULL;
  struct cel_value key = is_list ? cel_int((int64_t)i) : cel_key(run, loop->range.map, i);
  if (is_list && !two) key = cel_item(run, loop->range.list, i);
  loop->first.value = key;
  if (two) loop->second.value = is_list ? cel_item(run, loop->range.list, i) : cel_member(run, loop->range.map, i);
}

static struct cel_value as_condition(struct cel_run *run, struct cel_value value) {
  return value.type == CEL_BOOL || value.type == CEL_ERROR ? value : cel_no_overload(run);
}

// all and exists: true when the loop can end with that value.
static bool test_item(struct cel_run *run, struct loop *loop) {
  struct cel_value value = as_condition(run, evaluate(run, loop->node->children[1]));
  if (value.type == CEL_ERROR) loop->error = value;
  return value.type == CEL_BOOL && value.boolean == (loop->node->loop == CEL_EXISTS);
}

static bool add_entry(struct cel_run *run, struct loop *loop, struct cel_value value) {
  if (value.type != CEL_MAP) {
    loop->error = cel_no_overload(run);
    return false;
  }
  for (size_t i = 0; i < value.map->count; i++) {
    struct cel_value key = cel_key(run, value.map, i);
    for (size_t j = 0; j < loop->keys.count; j++)
      if (cel_equal(run, &loop->keys.items[j], &key)) {
        loop->error = cel_error(run, "insert failed: key already exists");
        return false;
      }
    cel_append(run, &loop->keys, key);
    cel_append(run, &loop->results, cel_member(run, value.map, i));
  }
  return true;
}

// The other loops: false when the loop ends with an error.
static bool gather_item(struct cel_run *run, struct loop *loop) {
  const struct cel_node *node = loop->node;
  bool filters = node->loop == CEL_FILTER || node->loop == CEL_EXISTS_ONE || node->count == 3;
  struct cel_value value;
  if (filters) {
    value = as_condition(run, evaluate(run, node->children[1]));
    if (value.type == CEL_ERROR) return loop->error = value, false;
    if (!value.boolean) return true;
  }
  loop->hits++;
  if (node->loop == CEL_EXISTS_ONE) return true;
  if (node->loop == CEL_FILTER) {
    cel_append(run, &loop->results, loop->first.value);
    return true;
  }
  value = evaluate(run, node->children[node->count - 1]);
  if (value.type == CEL_ERROR) return loop->error = value, false;
  if (node->loop == CEL_MAP_ENTRY) return add_entry(run, loop, value);
  if (node->loop == CEL_MAP_MAP) cel_append(run, &loop->keys, loop->first.value);
  if (node->loop == CEL_SORT_BY) cel_append(run, &loop->keys, loop->first.value);
  cel_append(run, &loop->results, value);
  return true;
}

// Sorts loop->keys by the values in loop->results.
static struct cel_value sort_by(struct cel_run *run, struct loop *loop) {
  struct cel_value *items = loop->keys.items, *keys = loop->results.items;
  for (size_t i = 1; i < loop->keys.count; i++) {
    for (size_t j = i; j > 0; j--) {
      int order = cel_compare(&keys[j - 1], &keys[j]);
      cel_spend(run, 1);
      if (order > 1 || keys[j - 1].type != keys[j].type) return cel_error(run, "list elements must have the same type");
      if (order <= 0) break;
      struct cel_value item = items[j], key = keys[j];
      items[j] = items[j - 1], keys[j] = keys[j - 1];
      items[j - 1] = item, keys[j - 1] = key;
    }
  }
  return cel_finish(run, &loop->keys);
}

static struct cel_value loop_result(struct cel_run *run, struct loop *loop, bool decided) {
  enum cel_loop kind = loop->node->loop;
  if (kind == CEL_ALL || kind == CEL_EXISTS) {
    if (decided) return cel_bool(kind == CEL_EXISTS);
    return loop->error.type == CEL_ERROR ? loop->error : cel_bool(kind == CEL_ALL);
  }
  if (loop->error.type == CEL_ERROR) return loop->error;
  if (kind == CEL_EXISTS_ONE) return cel_bool(loop->hits == 1);
  if (kind == CEL_SORT_BY) return sort_by(run, loop);
  if (kind == CEL_MAP_MAP || kind == CEL_MAP_ENTRY) return cel_finish_map(run, &loop->keys, &loop->results);
  return cel_finish(run, &loop->results);
}

static struct cel_value run_loop(struct cel_run *run, const struct cel_node *node) {
  struct loop loop = {.node = node, .error = {.type = CEL_NULL}};
  bool decided = false, tests = node->loop == CEL_ALL || node->loop == CEL_EXISTS;
  loop.range = evaluate(run, node->children[0]);
  run->offset = node->offset;
  if (loop.range.type == CEL_ERROR) return loop.range;
  if (loop.range.type != CEL_LIST && loop.range.type != CEL_MAP)
    return cel_error(run, "got '%s', expected iterable type", cel_type_name(&loop.range));
  loop.first = (struct cel_scope){.outer = run->scope, .name = node->text, .length = node->length};
  loop.second = (struct cel_scope){.outer = &loop.first, .name = node->second};
  if (node->second) loop.second.length = strlen(node->second);
  const struct cel_scope *outer = run->scope;
  run->scope = node->second ? &loop.second : &loop.first;
  for (size_t i = 0; i < range_size(&loop.range) && !decided; i++) {
    set_variables(run, &loop, i);
    cel_spend(run, 1);
    if (tests) decided = test_item(run, &loop);
    else if (!gather_item(run, &loop)) break;
  }
  run->scope = outer;
  return loop_result(run, &loop, decided);
}

// x.optMap(v, e), x.optFlatMap(v, e)
static struct cel_value map_optional(struct cel_run *run, const struct cel_node *node) {
  struct cel_value target = evaluate(run, node->children[0]);
  run->offset = node->offset;
  if (target.type == CEL_ERROR) return target;
  if (target.type != CEL_OPTIONAL) return cel_no_overload(run);
  if (!target.inner) return target;
  struct cel_scope scope = {.outer = run->scope, .name = node->text, .length = node->length, .value = *target.inner};
  run->scope = &scope;
  struct cel_value value = evaluate(run, node->children[1]);
  run->scope = scope.outer;
  if (value.type == CEL_ERROR || node->loop == CEL_EXISTS) return value;
  return cel_optional(run, &value);
}

struct cel_value cel_evaluate(struct cel_run *run, const struct cel_node *node) {
  run->offset = node->offset;
  cel_spend(run, node->kind != CEL_CONSTANT);
  switch (node->kind) {
  case CEL_CONSTANT: return node->value;
  case CEL_NAME: return find_name(run, node);
  case CEL_SELECT:
  case CEL_HAS: return select_field(run, node);
  case CEL_INDEX: return index_into(run, node);
  case CEL_CALL: return call(run, node);
  case CEL_MAKE_LIST: return make_list(run, node);
  case CEL_MAKE_MAP: return make_map(run, node);
  case CEL_CHOICE: return choice(run, node);
  case CEL_AND:
  case CEL_OR: return logic(run, node);
  case CEL_LOOP: return run_loop(run, node);
  default: return map_optional(run, node);
  }
}
