// The parts of kube.patch.diff: diff.c compares trees, diff_walk.c Lua values where they lie.
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

// Go down the path: the caller puts `length` back.
void kf_diff_key(struct differ *d, const char *key, size_t length);
void kf_diff_index(struct differ *d, size_t index);
// [-0, +0, v] adds an operation at the path.
void kf_diff_emit(struct differ *d, const char *op, const struct kf_node *value);
// [-0, +0, v] adds what makes b of a, at the path.
void kf_diff_lists(struct differ *d, const struct kf_node *a, const struct kf_node *b);
// [-0, +?, v] the same for the Lua values at two places; false when it gave up in the middle.
bool kf_diff_walk(struct differ *d, int a, int b);

#endif
