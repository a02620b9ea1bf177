// Strategic merge patch as the API server applies it to built-in kinds: merge keys and strategies of
// the Go types, the directives $patch, $retainKeys, $setElementOrder and $deleteFromPrimitiveList.
// Where the schema says nothing (inside maps of texts and free values) lists and values are replaced.
#include "kube.h"
#include "schema.h"

#include "error.h"
#include "values.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

static const char delete_prefix[] = "$deleteFromPrimitiveList";
static const char order_prefix[] = "$setElementOrder";
static const char directive[] = "$patch";

struct merger {
  struct kf_tree tree;
  size_t depth;
  struct kf_place places[KF_MAX_DEPTH + 1];
};

// What the schema says of a value: the line of its struct's type, NULL when it is no struct.
struct meta {
  const char *line;
  struct kf_span type;
  struct kf_span strategy, merge_key;
};

static _Noreturn void fail(struct merger *m, const char *message) {
  lua_State *L = m->tree.L;
  luaL_checkstack(L, 8, NULL);
  kf_error(L, "Patch", "%s", message);
  kf_push_path(L, m->places, m->depth);
  lua_setfield(L, -2, "path");
  lua_error(L);
  abort();  // not reached
}

// --- words of Go ------------------------------------------------------------------------------------

static const char *go_value(struct merger *m, const struct kf_node *node) {
  kf_go_value(m->tree.L, node);
  return lua_tostring(m->tree.L, -1);
}

static const char *go_type(const struct kf_node *node) {
  static const char *const names[] = {"%!s(<nil>)", "bool", "int64", "float64", "string", "[]interface {}",
                                      "map[string]interface {}"};
  return names[node->kind];
}

static _Noreturn void fail_type(struct merger *m, enum kf_kind expected, const struct kf_node *found) {
  const struct kf_node wanted = {.kind = expected};
  fail(m, lua_pushfstring(m->tree.L, "expected a %s, but received a %s", go_type(&wanted), go_type(found)));
}

static _Noreturn void fail_no_key(struct merger *m, const struct kf_node *item, struct kf_span key) {
  const char *map = go_value(m, item);
  const char *name = lua_pushlstring(m->tree.L, key.at, key.length);
  fail(m, lua_pushfstring(m->tree.L, "map: %s does not contain declared merge key: %s", map, name));
}

// --- the schema -------------------------------------------------------------------------------------

static const char *short_name(struct merger *m, const char *line) {
  const char *end = line + strcspn(line, " "), *at = end;
  while (at > line && at[-1] != '.') at--;
  return lua_pushlstring(m->tree.L, at, (size_t)(end - at));
}

static struct meta meta_of_type(struct kf_span type) {
  struct meta meta = {.type = type};
  if (type.length > 0 && type.at[0] == '@')
    meta.line = kf_schema_type((struct kf_span){type.at + 1, type.length - 1});
  return meta;
}

// merge,retainKeys -> merge; retainKeys -> nothing
static struct kf_span without_retain_keys(struct kf_span strategy) {
  static const char retain[] = "retainKeys";
  size_t size = sizeof retain - 1;
  if (strategy.length < size || memcmp(strategy.at + strategy.length - size, retain, size) != 0) return strategy;
  strategy.length -= size;
  if (strategy.length > 0) strategy.length--;
  return strategy;
}

// What the schema says of a member: a map's or, with `items`, a list's elements.
static struct meta member_meta(struct merger *m, const struct meta *of, const struct kf_member *member, bool items) {
  struct kf_field field;
  if (!of->line) fail(m, "merging an object in json but data type is not struct, instead is: map");
  if (!kf_schema_field(of->line, member->key, member->length, &field)) {
    const char *key = lua_pushlstring(m->tree.L, member->key, member->length);
    fail(m, lua_pushfstring(m->tree.L, "unable to find api field in struct %s for the json field \"%s\"",
                            short_name(m, of->line), key));
  }
  struct kf_span type = field.type;
  if (items && type.at[0] == '[') type = (struct kf_span){type.at + 1, type.length - 1};
  else if (items) fail(m, "expected slice or array type, but got: struct");
  struct meta meta = meta_of_type(type);
  meta.strategy = without_retain_keys(field.strategy);
  meta.merge_key = field.merge_key;
  return meta;
}

static bool is_strategy(const struct meta *meta, const char *name) {
  return meta->strategy.length == strlen(name) && memcmp(meta->strategy.at, name, meta->strategy.length) == 0;
}

// --- values -----------------------------------------------------------------------------------------

static void enter(struct merger *m, const struct kf_member *member, size_t index) {
  if (m->depth >= KF_MAX_DEPTH) fail(m, "nested more than 500 deep");
  luaL_checkstack(m->tree.L, 40, "patch");
  m->places[m->depth++] = member ? (struct kf_place){.key = member->key, .length = member->length}
                                 : (struct kf_place){.index = (lua_Integer)index};
}

static bool has_prefix(const struct kf_member *member, const char *prefix) {
  size_t length = strlen(prefix);
  return member->length >= length && memcmp(member->key, prefix, length) == 0;
}

// The member that a directive such as $setElementOrder/containers is about.
static struct kf_member target_of(struct merger *m, const struct kf_member *member, const char *prefix,
                                  const char *message) {
  size_t length = strlen(prefix);
  if (member->length <= length || member->key[length] != '/') fail(m, message);
  return (struct kf_member){member->key + length + 1, member->length - length - 1, NULL};
}

// Removes null members, at any depth.
static void discard_nulls(struct kf_node *node) {
  for (size_t i = 0; node->kind == KF_LIST && i < node->count; i++) discard_nulls(node->items[i]);
  for (size_t i = 0; node->kind == KF_MAP && i < node->count;) {
    struct kf_member *member = &node->members[i];
    if (member->value->kind == KF_NULL) {
      kf_map_remove(node, member->key, member->length);
      continue;
    }
    discard_nulls(member->value);
    i++;
  }
}

// Drops maps that carry $patch; false when that is the value itself.
static bool remove_directives(struct kf_node *node) {
  if (node->kind == KF_MAP && kf_map_find(node, directive)) return false;
  for (size_t i = 0; node->kind == KF_MAP && i < node->count;) {
    struct kf_member *member = &node->members[i];
    if (remove_directives(member->value)) i++;
    else kf_map_remove(node, member->key, member->length);
  }
  for (size_t i = 0; node->kind == KF_LIST && i < node->count;) {
    if (remove_directives(node->items[i])) i++;
    else kf_list_remove(node, i);
  }
  return true;
}

static void take_value(struct merger *m, struct kf_node *original, const struct kf_member *member,
                       struct kf_node *value) {
  discard_nulls(value);
  if (remove_directives(value)) kf_map_set(&m->tree, original, member->key, member->length, value);
  else kf_map_remove(original, member->key, member->length);
}

// The value of the merge key of a map.
static struct kf_node *key_of(const struct kf_node *item, struct kf_span key) {
  return item->kind == KF_MAP ? kf_map_get(item, key.at, key.length) : NULL;
}

static struct kf_node *need_key(struct merger *m, const struct kf_node *item, struct kf_span key) {
  struct kf_node *value = key_of(item, key);
  if (item->kind != KF_MAP) fail_type(m, KF_MAP, item);
  if (!value) fail_no_key(m, item, key);
  return value;
}

// Where an item with that key (with that value, without a key) is in the list; -1 when nowhere.
static long index_of(const struct kf_node *list, const struct kf_node *value, struct kf_span key) {
  for (size_t i = 0; i < list->count; i++) {
    const struct kf_node *other = key.length > 0 ? key_of(list->items[i], key) : list->items[i];
    if (other && kf_node_equal(other, value)) return (long)i;
  }
  return -1;
}

// All items of the lists are of one kind, and none is a list.
static enum kf_kind element_kind(struct merger *m, const struct kf_node *a, const struct kf_node *b) {
  const struct kf_node *lists[] = {a, b};
  const struct kf_node *first = NULL;
  for (size_t i = 0; i < 2; i++) {
    for (size_t j = 0; lists[i] && j < lists[i]->count; j++) {
      const struct kf_node *item = lists[i]->items[j];
      if (!first && item->kind == KF_LIST) fail(m, "lists of lists are not supported");
      if (first && item->kind != first->kind) {
        const char *left = a ? go_value(m, a) : "[]", *right = b ? go_value(m, b) : "[]";
        fail(m, lua_pushfstring(m->tree.L, "list element types are not identical: [%s %s]", left, right));
      }
      first = item;
    }
  }
  if (!first) fail(m, "no elements in any of the given slices");
  return first->kind;
}

// --- the order of items -----------------------------------------------------------------------------
// The server's order is that of the slice before the merge, whose array the merge changes in place:
// where items go depends on it, so lists get the capacity that Go's decoder gives them.

static void grow_as_go(struct merger *m, struct kf_node *list) {
  size_t capacity = 1;
  while (capacity < list->count) capacity *= 2;
  struct kf_node **items = kf_tree_alloc(&m->tree, capacity * sizeof *items);
  if (list->count > 0) memcpy(items, list->items, list->count * sizeof *items);
  list->items = items;
  list->capacity = capacity;
}

static const struct kf_node *sort_value(const struct kf_node *item, struct kf_span key) {
  return key.length > 0 ? key_of(item, key) : item;
}

static long place_in(const struct kf_node *order, const struct kf_node *item, struct kf_span key) {
  const struct kf_node *value = sort_value(item, key);
  return value ? index_of(order, value, key) : -1;
}

static void need_keys(struct merger *m, const struct kf_node *list, struct kf_span key) {
  for (size_t i = 0; key.length > 0 && i < list->count; i++) need_key(m, list->items[i], key);
}

// Sorts the items by their place in `order`; maps without the key are errors, deletions come last.
static void sort_by(struct merger *m, struct kf_node *list, const struct kf_node *order, struct kf_span key) {
  need_keys(m, list, key);
  need_keys(m, order, key);
  long *places = kf_tree_alloc(&m->tree, (list->count + 1) * sizeof *places);
  for (size_t i = 0; i < list->count; i++) {
    struct kf_node *item = list->items[i];
    long place = place_in(order, item, key);
    size_t j = i;
    for (; j > 0 && (place < 0 || places[j - 1] < 0 || place < places[j - 1]); j--) {
      list->items[j] = list->items[j - 1];
      places[j] = places[j - 1];
    }
    list->items[j] = item;
    places[j] = place;
  }
}

// Weaves items of the server into those of the patch: an item that both know of keeps its server's place.
static struct kf_node *weave(struct merger *m, const struct kf_node *server, const struct kf_node *patch,
                             const struct kf_node *order, struct kf_span key) {
  struct kf_node *all = kf_tree_new(&m->tree, KF_LIST);
  size_t i = 0, j = 0;
  while (i < server->count || j < patch->count) {
    bool take_server = j == patch->count;
    if (i < server->count && j < patch->count) {
      long left = place_in(order, server->items[i], key), right = place_in(order, patch->items[j], key);
      take_server = left >= 0 && right >= 0 && left < right;
    }
    kf_list_append(&m->tree, all, take_server ? server->items[i++] : patch->items[j++]);
  }
  return all;
}

// Items that `order` names in its order, the others where the server had them.
static struct kf_node *arrange(struct merger *m, const struct kf_node *merged, const struct kf_node *order,
                               const struct kf_node *server_order, struct kf_span key) {
  struct kf_node *named = kf_tree_new(&m->tree, KF_LIST), *others = kf_tree_new(&m->tree, KF_LIST);
  for (size_t i = 0; i < merged->count; i++) {
    struct kf_node *item = merged->items[i];
    const struct kf_node *value = key.length > 0 ? need_key(m, item, key) : item;
    kf_list_append(&m->tree, index_of(order, value, key) >= 0 ? named : others, item);
  }
  sort_by(m, named, order, key);
  sort_by(m, others, server_order, key);
  return weave(m, others, named, server_order, key);
}

// --- lists ------------------------------------------------------------------------------------------

static struct kf_node *merge_map(struct merger *m, struct kf_node *original, struct kf_node *patch,
                                 const struct meta *meta);

static struct kf_node *delete_values(struct merger *m, const struct kf_node *list, const struct kf_node *values) {
  struct kf_node *kept = kf_tree_new(&m->tree, KF_LIST);
  for (size_t i = 0; i < list->count; i++)
    if (index_of(values, list->items[i], (struct kf_span){0}) < 0) kf_list_append(&m->tree, kept, list->items[i]);
  return kept;
}

// Both lists' values, each once: a repeated one gives way to the last of the list, as Go's code does.
static struct kf_node *unite_values(struct merger *m, const struct kf_node *a, const struct kf_node *b) {
  struct kf_node *all = kf_tree_new(&m->tree, KF_LIST);
  *all = *a;
  for (size_t i = 0; i < b->count; i++) kf_list_append(&m->tree, all, b->items[i]);
  for (size_t i = 0; i < all->count; i++) {
    for (size_t j = i + 1; j < all->count;) {
      if (kf_node_equal(all->items[i], all->items[j])) all->items[j] = all->items[--all->count];
      else j++;
    }
  }
  return all;
}

static void delete_matching(struct kf_node *list, const struct kf_node *value, struct kf_span key) {
  for (long at = index_of(list, value, key); at >= 0; at = index_of(list, value, key)) kf_list_remove(list, (size_t)at);
}

// Carries out the items with $patch and leaves the others in `rest`; true when the list is to be replaced.
static bool apply_directives(struct merger *m, struct kf_node *original, const struct kf_node *patch,
                             struct kf_span key, struct kf_node *rest) {
  bool replace = false;
  for (size_t i = 0; i < patch->count; i++) {
    struct kf_node *item = patch->items[i], *kind = kf_map_find(item, directive);
    if (!kind) {
      kf_list_append(&m->tree, rest, item);
    } else if (kf_text_is(kind, "delete")) {
      delete_matching(original, need_key(m, item, key), key);
    } else if (kf_text_is(kind, "replace")) {
      replace = true;
    } else if (kf_text_is(kind, "merge")) {
      fail(m, "merging lists cannot yet be specified in the patch");
    } else {
      const char *name = go_value(m, kind);
      fail(m, lua_pushfstring(m->tree.L, "unknown patch type: %s in map: %s", name, go_value(m, item)));
    }
  }
  return replace;
}

static void merge_items(struct merger *m, struct kf_node *original, const struct kf_node *patch,
                        const struct meta *meta) {
  for (size_t i = 0; i < patch->count; i++) {
    struct kf_node *item = patch->items[i];
    long at = index_of(original, need_key(m, item, meta->merge_key), meta->merge_key);
    enter(m, NULL, i);
    if (at >= 0) original->items[at] = merge_map(m, original->items[at], item, meta);
    else kf_list_append(&m->tree, original, item);
    m->depth--;
  }
}

static struct kf_node *merge_list(struct merger *m, struct kf_node *original, struct kf_node *patch,
                                  const struct meta *meta, bool deletion) {
  if (original->count == 0 && patch->count == 0) return original;
  enum kf_kind kind = element_kind(m, original, patch);
  if (kind != KF_MAP) {
    if (deletion) return delete_values(m, original, patch);
    return arrange(m, unite_values(m, original, patch), patch, original, meta->merge_key);
  }
  if (meta->merge_key.length == 0)
    fail(m, lua_pushfstring(m->tree.L, "cannot merge lists without merge key for %s", meta->line ? "struct" : "map"));
  struct kf_node *rest = kf_tree_new(&m->tree, KF_LIST);
  if (apply_directives(m, original, patch, meta->merge_key, rest)) {
    original = rest;
    rest = kf_tree_new(&m->tree, KF_LIST);
  }
  // What counts as the server's order is the list after deletions, before items were added.
  size_t before = original->count;
  merge_items(m, original, rest, meta);
  struct kf_node server_order = *original;
  server_order.count = before;
  return arrange(m, original, rest, &server_order, meta->merge_key);
}

// --- maps -------------------------------------------------------------------------------------------

static bool is_in_texts(const struct kf_node *list, const struct kf_member *member) {
  for (size_t i = 0; i < list->count; i++) {
    const struct kf_node *item = list->items[i];
    if (item->kind == KF_TEXT && item->count == member->length && memcmp(item->text, member->key, item->count) == 0)
      return true;
  }
  return false;
}

static void retain_keys(struct merger *m, struct kf_node *original, struct kf_node *patch) {
  struct kf_node *keys = kf_map_find(patch, "$retainKeys");
  if (!keys) return;
  kf_map_remove(patch, "$retainKeys", strlen("$retainKeys"));
  if (keys->kind != KF_LIST) fail(m, "invalid patch format of retainKeys");
  for (size_t i = 0; i < patch->count; i++) {
    const struct kf_member *member = &patch->members[i];
    if (member->value->kind == KF_NULL || has_prefix(member, delete_prefix) || has_prefix(member, order_prefix))
      continue;
    if (!is_in_texts(keys, member)) fail(m, "invalid patch format of retainKeys");
  }
  for (size_t i = 0; i < original->count;) {
    const struct kf_member *member = &original->members[i];
    if (is_in_texts(keys, member)) i++;
    else kf_map_remove(original, member->key, member->length);
  }
}

static bool is_deletion(const struct kf_node *item) {
  return item->kind == KF_MAP && kf_text_is(kf_map_find(item, directive), "delete");
}

// The items of a patch must stand in the order that $setElementOrder gives, and be in it.
static void check_order(struct merger *m, const struct kf_node *patch, const struct kf_node *order,
                        struct kf_span key) {
  if (order->count == 0) return;
  size_t at = 0, i = 0;
  while (i < patch->count && at < order->count) {
    const struct kf_node *item = patch->items[i];
    if (item->kind == KF_MAP && kf_map_find(item, directive)) {
      i++;
      continue;
    }
    const struct kf_node *left = item, *right = order->items[at];
    if (key.length > 0) {
      left = need_key(m, left, key);
      right = need_key(m, right, key);
    }
    i += kf_node_equal(left, right);
    at++;
  }
  while (i < patch->count && is_deletion(patch->items[i])) i++;
  if (i == patch->count) return;
  const char *items = go_value(m, patch);
  fail(m, lua_pushfstring(m->tree.L, "The order in patch list:\n%s\n doesn't match $setElementOrder list:\n%s\n", items,
                          go_value(m, order)));
}

static void set_element_order(struct merger *m, struct kf_node *original, struct kf_node *patch,
                              const struct meta *meta, const struct kf_member *member) {
  if (member->value->kind != KF_LIST) fail_type(m, KF_LIST, member->value);
  const struct kf_node *order = member->value;
  const struct kf_member target = target_of(m, member, order_prefix, "invalid patch format of setElementOrder list");
  struct kf_node *ours = kf_map_get(original, target.key, target.length);
  struct kf_node *theirs = kf_map_get(patch, target.key, target.length), *merged = ours;
  if (ours && ours->kind != KF_LIST) fail_type(m, KF_LIST, ours);
  if (theirs && theirs->kind != KF_LIST) fail_type(m, KF_LIST, theirs);
  struct meta items = member_meta(m, meta, &target, true);
  if (theirs) check_order(m, theirs, order, items.merge_key);
  if (!ours && !theirs) return;
  struct kf_node server_order = {.kind = KF_LIST};
  if (ours) {
    grow_as_go(m, ours);
    server_order = *ours;
  }
  element_kind(m, ours, theirs);
  if (!ours) {
    remove_directives(theirs);
    merged = theirs;
  } else if (theirs) {
    merged = is_strategy(&items, "merge") ? merge_list(m, ours, theirs, &items, false) : theirs;
  }
  merged = arrange(m, merged, order, &server_order, items.merge_key);
  kf_map_set(&m->tree, original, target.key, target.length, merged);
  kf_map_remove(patch, target.key, target.length);
}

static void merge_member(struct merger *m, struct kf_node *original, const struct kf_member *member,
                         const struct meta *meta, bool deletion) {
  struct kf_node *value = member->value, *old = kf_map_get(original, member->key, member->length);
  if (value->kind == KF_NULL) {
    kf_map_remove(original, member->key, member->length);
  } else if (!old || old->kind != value->kind) {
    if (!deletion) take_value(m, original, member, value);
  } else if (value->kind == KF_MAP) {
    struct meta inner = member_meta(m, meta, member, false);
    struct kf_node *merged = is_strategy(&inner, "replace") ? value : merge_map(m, old, value, &inner);
    kf_map_set(&m->tree, original, member->key, member->length, merged);
  } else if (value->kind == KF_LIST) {
    struct meta items = member_meta(m, meta, member, true);
    bool merges = is_strategy(&items, "merge") || deletion;
    grow_as_go(m, old);
    struct kf_node *merged = merges ? merge_list(m, old, value, &items, deletion) : value;
    kf_map_set(&m->tree, original, member->key, member->length, merged);
  } else {
    kf_map_set(&m->tree, original, member->key, member->length, value);
  }
}

static struct kf_node *merge_map(struct merger *m, struct kf_node *original, struct kf_node *patch,
                                 const struct meta *meta) {
  struct kf_node *kind = kf_map_find(patch, directive);
  if (kf_text_is(kind, "replace")) {
    kf_map_remove(patch, directive, strlen(directive));
    return patch;
  }
  if (kf_text_is(kind, "delete")) return kf_tree_new(&m->tree, KF_MAP);
  if (kind) {
    const char *name = go_value(m, kind);
    fail(m, lua_pushfstring(m->tree.L, "unknown patch type: %s in map: %s", name, go_value(m, patch)));
  }
  retain_keys(m, original, patch);
  for (size_t i = 0; i < patch->count;) {
    const struct kf_member member = patch->members[i];
    if (!has_prefix(&member, order_prefix)) {
      i++;
      continue;
    }
    enter(m, &member, 0);
    kf_map_remove(patch, member.key, member.length);
    set_element_order(m, original, patch, meta, &member);
    m->depth--;
    i = 0;
  }
  for (size_t i = 0; i < patch->count; i++) {
    struct kf_member member = patch->members[i];
    bool deletion = has_prefix(&member, delete_prefix);
    enter(m, &member, 0);
    if (deletion) {
      struct kf_node *value = member.value;
      member = target_of(m, &member, delete_prefix, "invalid patch format of primitive list");
      member.value = value;
    }
    merge_member(m, original, &member, meta, deletion);
    m->depth--;
  }
  return original;
}

// patch.strategic(doc, patch, "apps/v1/Deployment") -> doc
int kf_patch_strategic(lua_State *L) {
  struct merger m;
  size_t length;
  luaL_checkany(L, 1);
  luaL_checkany(L, 2);
  const char *kind = luaL_checklstring(L, 3, &length);
  lua_settop(L, 3);
  m.depth = 0;
  kf_tree_open(L, &m.tree, "Patch");
  const char *line = kf_schema_kind(kind, length);
  if (!line) fail(&m, lua_pushfstring(L, "no strategic merge patch for %s: it is no built-in kind", kind));
  struct kf_node *doc = kf_tree_read(&m.tree, 1), *patch = kf_tree_read(&m.tree, 2);
  if (doc->kind != KF_MAP || patch->kind != KF_MAP) fail(&m, "invalid JSON document");
  struct meta meta = {.line = line};
  kf_tree_push(&m.tree, merge_map(&m, doc, patch, &meta));
  return 1;
}
