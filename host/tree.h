// Lua values (host/values.h) as a tree in C, for functions that compare or change whole values.
// All memory is Lua's: a raise frees it, and so does dropping the value that kf_tree_open pushed.
// Texts are not copied: the Lua values that were read must stay on the stack while the tree lives.
//
// Offers: 1. trees from Lua values and back   2. building and changing   3. comparing
#ifndef KF_TREE_H
#define KF_TREE_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kf_kind { KF_NULL, KF_BOOL, KF_INTEGER, KF_DOUBLE, KF_TEXT, KF_LIST, KF_MAP };

struct kf_node;
struct kf_member {
  const char *key;
  size_t length;
  struct kf_node *value;
};
struct kf_node {
  enum kf_kind kind;
  bool boolean;
  int64_t integer;
  double number;
  const char *text;
  size_t count;  // bytes of a text, items of a list, members of a map
  size_t capacity;
  struct kf_node **items;
  struct kf_member *members;  // sorted by key
};

struct kf_tree {
  lua_State *L;
  const char *code;  // of the errors that reading and writing raise
  int blocks;        // stack index of the table that holds the memory
  char *at;
  size_t left;
};

// [-0, +1, m] starts a tree; it lives as long as the value pushed stays at its place.
void kf_tree_open(lua_State *L, struct kf_tree *tree, const char *code);

// [-0, +0, m] memory that lives as long as the tree.
void *kf_tree_alloc(struct kf_tree *tree, size_t size);

// [-0, +0, v] reads the value at index; raises (with a path) what is no JSON value.
struct kf_node *kf_tree_read(struct kf_tree *tree, int index);

// [-0, +1, v] pushes a node as a new Lua value; lists and maps get their marks.
void kf_tree_push(struct kf_tree *tree, const struct kf_node *node);

// --- building; all [-0, +0, m] --------------------------------------------------------------------
struct kf_node *kf_tree_new(struct kf_tree *tree, enum kf_kind kind);
struct kf_node *kf_tree_text(struct kf_tree *tree, const char *text, size_t length);
// A copy of the node and all in it; raises when it is nested more than 500 deep.
struct kf_node *kf_tree_copy(struct kf_tree *tree, const struct kf_node *node);

// Puts a value before item `at` (at <= count), or at the end.
void kf_list_insert(struct kf_tree *tree, struct kf_node *list, size_t at, struct kf_node *value);
void kf_list_append(struct kf_tree *tree, struct kf_node *list, struct kf_node *value);
void kf_list_remove(struct kf_node *list, size_t at);

// The member's value or NULL; a member is set whether it was there or not; removing tells whether it was.
struct kf_node *kf_map_get(const struct kf_node *map, const char *key, size_t length);
void kf_map_set(struct kf_tree *tree, struct kf_node *map, const char *key, size_t length, struct kf_node *value);
bool kf_map_remove(struct kf_node *map, const char *key, size_t length);
// The same for a key that ends with \0.
struct kf_node *kf_map_find(const struct kf_node *map, const char *key);

// --- comparing ---------------------------------------------------------------------------------------
// Equal as JSON values: 1 is 1.0, the order of members does not count.
bool kf_node_equal(const struct kf_node *a, const struct kf_node *b);
bool kf_text_is(const struct kf_node *node, const char *text);

// "null", "bool", "number", "text", "list", "map"
const char *kf_kind_name(enum kf_kind kind);

#endif
