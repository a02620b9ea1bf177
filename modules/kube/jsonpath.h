// JSONPath in kubectl's dialect: a template of texts and {actions}.
#ifndef KF_KUBE_JSONPATH_H
#define KF_KUBE_JSONPATH_H

#include "tree.h"

enum kf_path_kind {
  KF_PATH_LIST, KF_PATH_TEXT, KF_PATH_FIELD, KF_PATH_ARRAY, KF_PATH_FILTER, KF_PATH_VALUE, KF_PATH_WILDCARD,
  KF_PATH_RECURSIVE, KF_PATH_UNION, KF_PATH_WORD
};

struct kf_path_bound {
  long value;
  bool known, derived;
};
struct kf_path {
  enum kf_path_kind kind;
  const char *text;  // of a text, a field, a word, a filter's operator
  size_t length;
  struct kf_node *value;           // an integer, a double or a boolean
  struct kf_path_bound bounds[3];  // of an array: from, to, step
  struct kf_path **children;       // of a list and a union; a filter's left and right
  size_t count, capacity;
};

// [-0, +0, e] the list of the template's pieces; raises code "JSONPath".
struct kf_path *kf_jsonpath_parse(struct kf_tree *tree, const char *text, size_t length);

#endif
