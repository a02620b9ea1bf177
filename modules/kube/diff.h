// The parts of kube.patch.diff: diff_walk.c compares Lua values where they lie, diff_tree.c trees,
// diff_ops.c writes what differs.
#ifndef KF_KUBE_DIFF_H
#define KF_KUBE_DIFF_H

#include "tree.h"

struct differ {
  struct kf_tree tree;
  int ops;  // stack index of the list
  size_t work;
  int depth;
  const void *list_mark;  // that of marked lists
  char *path;
  size_t length, capacity;
};

// --- diff_ops.c ---------------------------------------------------------------------------------

// Go down the path: the caller puts `length` back.
void kf_diff_key(struct differ *d, const char *key, size_t length);
void kf_diff_index(struct differ *d, size_t index);
// [-0, +0, v] adds an operation at the path.
void kf_diff_emit(struct differ *d, const char *op, const struct kf_node *value);

// --- diff_tree.c --------------------------------------------------------------------------------

// [-0, +0, v] add what makes b of a, at the path.
void kf_diff_trees(struct differ *d, const struct kf_node *a, const struct kf_node *b);
void kf_diff_lists(struct differ *d, const struct kf_node *a, const struct kf_node *b);

// --- diff_walk.c --------------------------------------------------------------------------------

// [-0, +?, v] the same for the Lua values at two places; false when it gave up in the middle.
bool kf_diff_walk(struct differ *d, int a, int b);

#endif
