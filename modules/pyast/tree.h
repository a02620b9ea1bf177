// A parsed Python source as flat arrays in preorder: node 0 is the module, a node's children
// follow it, and next[] jumps over them. Plain C; freed with kf_tree_free.
#ifndef KF_PYAST_TREE_H
#define KF_PYAST_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kf_tree {
  const char *source;  // not owned; outlives the tree
  size_t size;
  uint32_t count;
  uint16_t *kind;      // grammar symbol; kf_tree_kind_name
  uint16_t *field;     // grammar field, 0 = none; kf_tree_field_name
  uint32_t *parent;    // of node 0: 0
  uint32_t *next;      // the node after this one's descendants, or count
  uint32_t *first, *end;  // byte offsets from 0, end exclusive
  uint8_t *flags;      // KF_NODE_…
};
enum { KF_NODE_NAMED = 1, KF_NODE_ERROR = 2, KF_NODE_MISSING = 4 };

// Parses; false when memory is out. A source that is no Python still gives a tree, with nodes
// marked KF_NODE_ERROR or KF_NODE_MISSING.
bool kf_tree_parse(struct kf_tree *tree, const char *source, size_t size);
void kf_tree_free(struct kf_tree *tree);

const char *kf_tree_kind_name(uint16_t kind);
const char *kf_tree_field_name(uint16_t field);
unsigned kf_tree_kinds(void);
unsigned kf_tree_fields(void);
// The symbol of a named node kind, or of a keyword or operator; 0 when the grammar has none.
uint16_t kf_tree_kind(const char *name, bool named);
uint16_t kf_tree_field(const char *name);

#endif
