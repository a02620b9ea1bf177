// Values: making them, reading lists and maps, equality and order.
#include "cel.h"

#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct cel_value cel_error(struct cel_run *run, const char *format, ...) {
  va_list arguments;
  lua_State *L = run->tree.L;
  luaL_checkstack(L, 4, "CEL");
  va_start(arguments, format);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  size_t length;
  const char *message = lua_tolstring(L, -1, &length);
  struct cel_value value = cel_copied(run, message, length);
  lua_pop(L, 1);
  value.type = CEL_ERROR;
  value.offset = run->offset;
  return value;
}

struct cel_value cel_no_overload(struct cel_run *run) {
  return cel_error(run, "no such overload");
}

struct cel_value cel_string(const char *text, size_t length) {
  return (struct cel_value){.type = CEL_STRING, .length = length, .text = text};
}

struct cel_value cel_text(const char *text) {
  return cel_string(text, strlen(text));
}

struct cel_value cel_copied(struct cel_run *run, const char *text, size_t length) {
  char *copy = kf_tree_alloc(&run->tree, length + 1);
  memcpy(copy, text, length);
  copy[length] = '\0';
  return cel_string(copy, length);
}

struct cel_value cel_type_named(const char *name) {
  return (struct cel_value){.type = CEL_TYPE, .length = strlen(name), .text = name};
}

const char *cel_type_name(const struct cel_value *value) {
  static const char *const names[] = {"error",  "null_type", "bool", "int", "uint", "double", "string", "bytes",
                                      "list",   "map",       "type", "google.protobuf.Timestamp",
                                      "google.protobuf.Duration", "optional_type", "kubernetes.Quantity",
                                      "kubernetes.URL", "net.IP", "net.CIDR"};
  return names[value->type];
}

struct cel_value cel_of_node(const struct kf_node *node, struct cel_run *run) {
  switch (node->kind) {
  case KF_NULL: return (struct cel_value){.type = CEL_NULL};
  case KF_BOOL: return cel_bool(node->boolean);
  case KF_INTEGER: return cel_int(node->integer);
  case KF_DOUBLE: return cel_double(node->number);
  case KF_TEXT: return cel_string(node->text, node->count);
  case KF_LIST: {
    struct cel_list *list = kf_tree_alloc(&run->tree, sizeof *list);
    *list = (struct cel_list){.count = node->count, .node = node};
    return (struct cel_value){.type = CEL_LIST, .list = list};
  }
  default: {
    struct cel_map *map = kf_tree_alloc(&run->tree, sizeof *map);
    *map = (struct cel_map){.count = node->count, .node = node};
    return (struct cel_value){.type = CEL_MAP, .map = map};
  }
  }
}

// --- lists and maps -------------------------------------------------------------------------------------

struct cel_value cel_item(struct cel_run *run, const struct cel_list *list, size_t index) {
  return list->node ? cel_of_node(list->node->items[index], run) : list->items[index];
}

struct cel_value cel_key(struct cel_run *run, const struct cel_map *map, size_t index) {
  (void)run;
  if (!map->node) return map->keys[index];
  return cel_string(map->node->members[index].key, map->node->members[index].length);
}

struct cel_value cel_member(struct cel_run *run, const struct cel_map *map, size_t index) {
  return map->node ? cel_of_node(map->node->members[index].value, run) : map->values[index];
}

bool cel_lookup(struct cel_run *run, const struct cel_map *map, const struct cel_value *key, struct cel_value *value) {
  if (map->node) {
    if (key->type != CEL_STRING) return false;
    const struct kf_node *found = kf_map_get(map->node, key->text, key->length);
    if (found) *value = cel_of_node(found, run);
    return found != NULL;
  }
  for (size_t i = 0; i < map->count; i++) {
    if (!cel_equal(run, &map->keys[i], key)) continue;
    *value = map->values[i];
    return true;
  }
  return false;
}

void cel_append(struct cel_run *run, struct cel_builder *builder, struct cel_value value) {
  if (builder->count == builder->capacity) {
    size_t capacity = builder->capacity * 2 + 4;
    struct cel_value *items = kf_tree_alloc(&run->tree, capacity * sizeof *items);
    if (builder->count > 0) memcpy(items, builder->items, builder->count * sizeof *items);
    builder->items = items;
    builder->capacity = capacity;
  }
  builder->items[builder->count++] = value;
}

struct cel_value cel_finish(struct cel_run *run, const struct cel_builder *builder) {
  struct cel_list *list = kf_tree_alloc(&run->tree, sizeof *list);
  *list = (struct cel_list){.count = builder->count, .items = builder->items};
  return (struct cel_value){.type = CEL_LIST, .list = list};
}

struct cel_value cel_finish_map(struct cel_run *run, const struct cel_builder *keys, const struct cel_builder *values) {
  struct cel_map *map = kf_tree_alloc(&run->tree, sizeof *map);
  *map = (struct cel_map){.count = keys->count, .keys = keys->items, .values = values->items};
  return (struct cel_value){.type = CEL_MAP, .map = map};
}

struct cel_value cel_optional(struct cel_run *run, const struct cel_value *value) {
  struct cel_value *inner = NULL;
  if (value) {
    inner = kf_tree_alloc(&run->tree, sizeof *inner);
    *inner = *value;
  }
  return (struct cel_value){.type = CEL_OPTIONAL, .inner = inner};
}

// --- order ----------------------------------------------------------------------------------------------

static int order_of(int64_t a, int64_t b) {
  return (a > b) - (a < b);
}

static int order_of_doubles(double a, double b) {
  return isnan(a) || isnan(b) ? 2 : (a > b) - (a < b);
}

// Within the range of int64 the integer is compared as a double, as cel-go does.
static int compare_int_double(int64_t integer, double number) {
  return order_of_doubles((double)integer, number);
}

static int compare_uint_double(uint64_t natural, double number) {
  return order_of_doubles((double)natural, number);
}

static bool is_number(const struct cel_value *value) {
  return value->type == CEL_INT || value->type == CEL_UINT || value->type == CEL_DOUBLE;
}

static int compare_numbers(const struct cel_value *a, const struct cel_value *b) {
  if (a->type > b->type) {
    int order = compare_numbers(b, a);
    return order == 2 ? 2 : -order;
  }
  if (a->type == CEL_INT && b->type == CEL_INT) return order_of(a->integer, b->integer);
  if (a->type == CEL_INT && b->type == CEL_UINT)
    return a->integer < 0 ? -1 : ((uint64_t)a->integer > b->natural) - ((uint64_t)a->integer < b->natural);
  if (a->type == CEL_INT) return compare_int_double(a->integer, b->number);
  if (b->type == CEL_UINT) return (a->natural > b->natural) - (a->natural < b->natural);
  if (a->type == CEL_UINT) return compare_uint_double(a->natural, b->number);
  return order_of_doubles(a->number, b->number);
}

static int compare_bytes(const struct cel_value *a, const struct cel_value *b) {
  int order = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
  return order != 0 ? (order > 0) - (order < 0) : (a->length > b->length) - (a->length < b->length);
}

int cel_compare(const struct cel_value *a, const struct cel_value *b) {
  if (is_number(a) && is_number(b)) return compare_numbers(a, b);
  if (a->type != b->type) return 3;
  switch (a->type) {
  case CEL_BOOL: return a->boolean - b->boolean;
  case CEL_STRING:
  case CEL_BYTES: return compare_bytes(a, b);
  case CEL_DURATION: return order_of(a->integer, b->integer);
  case CEL_TIMESTAMP:
    return a->integer != b->integer ? order_of(a->integer, b->integer) : order_of(a->nanoseconds, b->nanoseconds);
  default: return 3;
  }
}

// --- equality -------------------------------------------------------------------------------------------

static bool equal_lists(struct cel_run *run, const struct cel_list *a, const struct cel_list *b) {
  if (a->count != b->count) return false;
  for (size_t i = 0; i < a->count; i++) {
    struct cel_value left = cel_item(run, a, i), right = cel_item(run, b, i);
    if (!cel_equal(run, &left, &right)) return false;
  }
  return true;
}

static bool equal_maps(struct cel_run *run, const struct cel_map *a, const struct cel_map *b) {
  if (a->count != b->count) return false;
  for (size_t i = 0; i < a->count; i++) {
    struct cel_value key = cel_key(run, a, i), left = cel_member(run, a, i), right;
    if (!cel_lookup(run, b, &key, &right) || !cel_equal(run, &left, &right)) return false;
  }
  return true;
}

bool cel_equal(struct cel_run *run, const struct cel_value *a, const struct cel_value *b) {
  cel_spend(run, 1);
  if (is_number(a) && is_number(b)) return compare_numbers(a, b) == 0;
  if (a->type != b->type) return false;
  switch (a->type) {
  case CEL_NULL: return true;
  case CEL_LIST: return equal_lists(run, a->list, b->list);
  case CEL_MAP: return equal_maps(run, a->map, b->map);
  case CEL_TYPE:
  case CEL_URL: return compare_bytes(a, b) == 0;
  case CEL_OPTIONAL: return a->inner && b->inner ? cel_equal(run, a->inner, b->inner) : a->inner == b->inner;
  case CEL_QUANTITY: return kf_decimal_compare(&a->quantity->amount, &b->quantity->amount) == 0;
  case CEL_IP:
  case CEL_CIDR:
    return a->address->length == b->address->length && a->address->prefix == b->address->prefix &&
           memcmp(a->address->bytes, b->address->bytes, (size_t)a->address->length) == 0;
  default: return cel_compare(a, b) == 0;
  }
}
