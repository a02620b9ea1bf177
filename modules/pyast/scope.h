// Scopes and names of a parsed source by CPython's rules. Plain C; freed with kf_scopes_free.
#ifndef KF_PYAST_SCOPE_H
#define KF_PYAST_SCOPE_H

#include "tree.h"

enum kf_scope_kind { KF_MODULE, KF_FUNCTION, KF_CLASS, KF_LAMBDA, KF_COMPREHENSION, KF_TYPE_PARAMETERS };
enum kf_context {
  KF_LOAD, KF_STORE, KF_DELETE, KF_UPDATE, KF_PARAMETER, KF_IMPORT, KF_DEFINITION,
  KF_GLOBAL, KF_NONLOCAL, KF_ANNOTATION
};
enum kf_mutation { KF_NO_MUTATION, KF_MUTATION_STORE, KF_MUTATION_DELETE, KF_MUTATION_CALL };
enum kf_name_scope { KF_UNKNOWN, KF_LOCAL, KF_CELL, KF_FREE, KF_GLOBAL_IMPLICIT, KF_GLOBAL_EXPLICIT };
enum {
  KF_HAS_USE = 1, KF_HAS_LOCAL = 2, KF_HAS_PARAMETER = 4, KF_HAS_IMPORT = 8, KF_HAS_GLOBAL = 16,
  KF_HAS_NONLOCAL = 32, KF_HAS_ANNOTATION = 64,
  KF_HAS_BINDING = KF_HAS_LOCAL | KF_HAS_PARAMETER | KF_HAS_IMPORT
};
#define KF_NONE UINT32_MAX

struct kf_text { const char *data; size_t size; };

// A name of a scope; `owner` is the scope that holds a free name.
struct kf_name { uint32_t scope, text, next, owner; uint8_t flags, where; };

struct kf_scope { uint32_t node, parent, name, first_name, last_name, private_name; uint8_t kind; };

struct kf_occurrence { uint32_t node, name; uint8_t context, mutation, conditional; };

struct kf_scopes {
  struct kf_text *texts;  uint32_t text_count, text_capacity;
  char **owned;           uint32_t owned_count, owned_capacity;  // mangled names
  struct kf_scope *scopes; uint32_t scope_count, scope_capacity;
  struct kf_name *names;  uint32_t name_count, name_capacity;
  struct kf_occurrence *occurrences; uint32_t occurrence_count, occurrence_capacity;
  uint32_t *text_table, text_table_size, *name_table, name_table_size;
  struct kf_work *work;   uint32_t work_count, work_capacity;
  bool failed, future_annotations;
};

// `scopes` starts as {0}; false when memory is out (free it all the same).
bool kf_scopes_resolve(struct kf_scopes *scopes, const struct kf_tree *tree);
void kf_scopes_free(struct kf_scopes *scopes);

#endif
