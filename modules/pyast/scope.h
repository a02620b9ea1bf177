// Scopes and names of a parsed Python module, by CPython's rules (Lib/symtable is their oracle).
#ifndef KF_PYAST_SCOPE_H
#define KF_PYAST_SCOPE_H

#include "tree.h"

enum kf_scope_kind {
  KF_SCOPE_MODULE, KF_SCOPE_FUNCTION, KF_SCOPE_CLASS, KF_SCOPE_LAMBDA, KF_SCOPE_LIST, KF_SCOPE_SET,
  KF_SCOPE_DICT, KF_SCOPE_GENERATOR, KF_SCOPE_TYPE_PARAMETERS
};
#define KF_NO_SCOPE UINT32_MAX

struct kf_scope {
  enum kf_scope_kind kind;
  uint32_t node;        // the node that opens it
  uint32_t parent;      // KF_NO_SCOPE for the module
  uint32_t name;        // of a function or class: name number; else KF_NO_SCOPE
  uint32_t symbols;     // the last symbol of the scope, linked by `sibling`; KF_NO_SCOPE at the end
  uint32_t class_name;  // of the innermost class around or at it, for private names
  bool iterated;        // comprehension: its first `for` was seen
  bool star_import;
};

// What a scope does with a name, as flags.
enum {
  KF_DECLARED_GLOBAL = 1, KF_ASSIGNED = 2, KF_PARAMETER = 4, KF_NONLOCAL = 8, KF_REFERENCED = 16,
  KF_IMPORTED = 128, KF_ANNOTATED = 256, KF_BOUND = KF_ASSIGNED | KF_PARAMETER | KF_IMPORTED
};
enum kf_resolution { KF_UNRESOLVED, KF_LOCAL, KF_GLOBAL_EXPLICIT, KF_GLOBAL_IMPLICIT, KF_FREE, KF_CELL };

struct kf_symbol {
  uint32_t scope, name, sibling;
  uint16_t flags;
  uint8_t resolution;
  uint32_t home;  // the scope that holds the value; 0 (the module) also for builtins
};

enum kf_context {
  KF_LOADS, KF_STORES, KF_DELETES, KF_IS_PARAMETER, KF_IMPORTS, KF_DEFINES, KF_SAYS_GLOBAL,
  KF_SAYS_NONLOCAL, KF_WALRUS, KF_AUGMENTS, KF_IGNORED, KF_MATCHES
};
struct kf_occurrence {
  uint32_t node, symbol;
  uint8_t context;
};

struct kf_scopes {
  const struct kf_tree *tree;
  struct kf_scope *scopes;
  uint32_t scope_count, scope_capacity;
  struct kf_symbol *symbols;
  uint32_t symbol_count, symbol_capacity;
  struct kf_occurrence *occurrences;
  uint32_t occurrence_count, occurrence_capacity;
  struct kf_name {
    const char *text;
    uint32_t length;
  } *names;
  uint32_t name_count, name_capacity;
  char **owned;  // texts of mangled names
  uint32_t owned_count, owned_capacity;
  uint32_t *name_table, *symbol_table;  // hash tables of number + 1
  uint32_t name_table_size, symbol_table_size;
  uint32_t *node_scopes;  // scope of each node
  uint8_t *node_contexts;
  bool failed;            // memory was out
};

// Fills `scopes`; false when memory is out. Free it in either case.
bool kf_scopes_find(struct kf_scopes *scopes, const struct kf_tree *tree);
void kf_scopes_free(struct kf_scopes *scopes);

#endif
