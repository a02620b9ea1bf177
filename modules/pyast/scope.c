// Names are found in one pass over the nodes, top down: each node gets its scope and its context
// (is it read, assigned …) from its parent. Then each name is resolved by climbing the scopes.
#include "scope.h"

#include <stdlib.h>
#include <string.h>

// The node kinds and fields that matter, looked up in the grammar once.
#define KINDS(X)                                                                                   \
  X(identifier) X(function_definition) X(class_definition) X(lambda) X(list_comprehension)         \
  X(set_comprehension) X(dictionary_comprehension) X(generator_expression) X(for_in_clause)        \
  X(attribute) X(subscript) X(keyword_argument) X(assignment) X(augmented_assignment)              \
  X(for_statement) X(as_pattern) X(as_pattern_target) X(pattern_list) X(tuple_pattern)             \
  X(list_pattern) X(list_splat_pattern) X(dictionary_splat_pattern) X(tuple) X(list)               \
  X(parenthesized_expression) X(expression_list) X(list_splat) X(named_expression)                 \
  X(delete_statement) X(global_statement) X(nonlocal_statement) X(import_statement)                \
  X(import_from_statement) X(future_import_statement) X(dotted_name) X(aliased_import)             \
  X(wildcard_import) X(parameters) X(lambda_parameters) X(default_parameter) X(typed_parameter)    \
  X(typed_default_parameter) X(case_clause) X(case_pattern) X(class_pattern) X(keyword_pattern)    \
  X(splat_pattern) X(dict_pattern) X(union_pattern) X(complex_pattern) X(type) X(member_type)      \
  X(type_parameter) X(type_alias_statement) X(generic_type) X(constrained_type) X(splat_type)

enum kind {
  K_OTHER,
#define ENUM(name) K_##name,
  KINDS(ENUM)
#undef ENUM
};

#define FIELDS(X)                                                                                  \
  X(name) X(type_parameters) X(parameters) X(return_type) X(body) X(superclasses) X(right) X(left) \
  X(object) X(attribute) X(value) X(type) X(alias) X(module_name) X(key)
enum field {
  F_OTHER,
#define ENUM(name) F_##name,
  FIELDS(ENUM)
#undef ENUM
};

enum { MAX_KINDS = 512, MAX_FIELDS = 64 };
static uint8_t kinds[MAX_KINDS];
static uint8_t fields[MAX_FIELDS];

static void look_up_grammar(void) {
  if (kinds[kf_tree_kind("identifier", true)]) return;
  static const char *const kind_names[] = {
#define NAME(name) #name,
      KINDS(NAME)};
  static const char *const field_names[] = {FIELDS(NAME)};
#undef NAME
  // Several symbols may share a name (aliases), so symbols are searched by name and not the reverse.
  for (unsigned symbol = 0; symbol < kf_tree_kinds() && symbol < MAX_KINDS; symbol++)
    for (unsigned i = 0; i < sizeof kind_names / sizeof *kind_names; i++)
      if (strcmp(kf_tree_kind_name((uint16_t)symbol), kind_names[i]) == 0)
        kinds[symbol] = (uint8_t)(i + 1);
  for (unsigned i = 0; i < sizeof field_names / sizeof *field_names; i++)
    fields[kf_tree_field(field_names[i])] = (uint8_t)(i + 1);
  fields[0] = F_OTHER;
}

static enum kind kind_of(const struct kf_scopes *s, uint32_t node) {
  uint16_t symbol = s->tree->kind[node];
  if (!(s->tree->flags[node] & KF_NODE_NAMED) || symbol >= MAX_KINDS) return K_OTHER;
  return (enum kind)kinds[symbol];
}

static enum field field_of(const struct kf_scopes *s, uint32_t node) {
  return (enum field)fields[s->tree->field[node]];
}

// --- growing arrays and hash tables -------------------------------------------------------------

static bool grow(struct kf_scopes *s, void **array, uint32_t count, uint32_t *capacity, size_t size) {
  if (count < *capacity) return true;
  uint32_t larger = *capacity ? *capacity * 2 : 64;
  void *moved = realloc(*array, larger * size);
  if (!moved) {
    s->failed = true;
    return false;
  }
  *array = moved;
  *capacity = larger;
  return true;
}
#define GROW(s, what, plural)                                                                      \
  grow(s, (void **)&(s)->plural, (s)->what##_count, &(s)->what##_capacity, sizeof *(s)->plural)

static uint64_t mix(uint64_t hash) {
  hash *= UINT64_C(0x9e3779b97f4a7c15);
  return hash ^ hash >> 29;
}

static uint64_t hash_text(const char *text, uint32_t length) {
  uint64_t hash = length;
  for (uint32_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
  return mix(hash);
}

static uint64_t hash_symbol(uint32_t scope, uint32_t name) {
  return mix((uint64_t)scope << 32 | name);
}

static uint64_t hash_entry(const struct kf_scopes *s, bool of_names, uint32_t i) {
  if (of_names) return hash_text(s->names[i].text, s->names[i].length);
  return hash_symbol(s->symbols[i].scope, s->symbols[i].name);
}

// Doubles a hash table that is more than half full.
static bool keep_roomy(struct kf_scopes *s, bool of_names) {
  uint32_t **table = of_names ? &s->name_table : &s->symbol_table;
  uint32_t *size = of_names ? &s->name_table_size : &s->symbol_table_size;
  uint32_t count = of_names ? s->name_count : s->symbol_count;
  if (count * 2 < *size) return true;
  uint32_t larger = *size ? *size * 2 : 256;
  uint32_t *fresh = calloc(larger, sizeof *fresh);
  if (!fresh) {
    s->failed = true;
    return false;
  }
  for (uint32_t i = 0; i < count; i++) {
    uint64_t slot = hash_entry(s, of_names, i);
    while (fresh[slot & (larger - 1)]) slot++;
    fresh[slot & (larger - 1)] = i + 1;
  }
  free(*table);
  *table = fresh;
  *size = larger;
  return true;
}

static uint32_t intern(struct kf_scopes *s, const char *text, uint32_t length) {
  if (!keep_roomy(s, true) || !GROW(s, name, names)) return 0;
  uint64_t slot = hash_text(text, length);
  for (uint32_t found; (found = s->name_table[slot & (s->name_table_size - 1)]); slot++) {
    const struct kf_name *name = &s->names[found - 1];
    if (name->length == length && memcmp(name->text, text, length) == 0) return found - 1;
  }
  s->names[s->name_count] = (struct kf_name){text, length};
  s->name_table[slot & (s->name_table_size - 1)] = ++s->name_count;
  return s->name_count - 1;
}

static uint32_t find_symbol(const struct kf_scopes *s, uint32_t scope, uint32_t name) {
  if (!s->symbol_table_size) return KF_NO_SCOPE;
  uint64_t slot = hash_symbol(scope, name);
  for (uint32_t found; (found = s->symbol_table[slot & (s->symbol_table_size - 1)]); slot++)
    if (s->symbols[found - 1].scope == scope && s->symbols[found - 1].name == name) return found - 1;
  return KF_NO_SCOPE;
}

// Adds flags to the scope's symbol of that name; makes it first when there is none.
static uint32_t add_symbol(struct kf_scopes *s, uint32_t scope, uint32_t name, unsigned flags) {
  uint32_t found = find_symbol(s, scope, name);
  if (found == KF_NO_SCOPE) {
    if (!keep_roomy(s, false) || !GROW(s, symbol, symbols)) return 0;
    found = s->symbol_count++;
    s->symbols[found] = (struct kf_symbol){
        .scope = scope, .name = name, .sibling = s->scopes[scope].symbols};
    s->scopes[scope].symbols = found;
    uint64_t slot = hash_symbol(scope, name);
    while (s->symbol_table[slot & (s->symbol_table_size - 1)]) slot++;
    s->symbol_table[slot & (s->symbol_table_size - 1)] = found + 1;
  }
  s->symbols[found].flags |= (uint16_t)flags;
  // A global declaration is noted in the module, too.
  if (flags & KF_DECLARED_GLOBAL && scope != 0) add_symbol(s, 0, name, KF_DECLARED_GLOBAL);
  return found;
}

// --- names --------------------------------------------------------------------------------------

// A private name (__x, not ending in __) is kept with the class's name before it.
static uint32_t mangled(struct kf_scopes *s, uint32_t scope, const char *text, uint32_t length) {
  uint32_t class_name = scope == KF_NO_SCOPE ? KF_NO_SCOPE : s->scopes[scope].class_name;
  if (class_name == KF_NO_SCOPE || length < 3 || memcmp(text, "__", 2) != 0 ||
      memcmp(text + length - 2, "__", 2) == 0)
    return intern(s, text, length);
  struct kf_name outer = s->names[class_name];
  while (outer.length > 0 && outer.text[0] == '_') outer.text++, outer.length--;
  if (outer.length == 0) return intern(s, text, length);
  char *whole = malloc(outer.length + length + 1);
  if (!whole || !GROW(s, owned, owned)) {
    free(whole);
    s->failed = true;
    return 0;
  }
  whole[0] = '_';
  memcpy(whole + 1, outer.text, outer.length);
  memcpy(whole + 1 + outer.length, text, length);
  s->owned[s->owned_count++] = whole;
  return intern(s, whole, outer.length + length + 1);
}

static uint32_t name_of(struct kf_scopes *s, uint32_t scope, uint32_t node) {
  return mangled(s, scope, s->tree->source + s->tree->first[node],
                 s->tree->end[node] - s->tree->first[node]);
}

static bool is_comprehension(const struct kf_scope *scope) {
  return scope->kind >= KF_SCOPE_LIST && scope->kind <= KF_SCOPE_GENERATOR;
}

static bool is_function(const struct kf_scope *scope) {
  return scope->kind == KF_SCOPE_FUNCTION || scope->kind == KF_SCOPE_LAMBDA ||
         scope->kind == KF_SCOPE_TYPE_PARAMETERS || is_comprehension(scope);
}

static uint32_t new_scope(struct kf_scopes *s, enum kf_scope_kind kind, uint32_t node, uint32_t parent) {
  if (!GROW(s, scope, scopes)) return 0;
  s->scopes[s->scope_count] = (struct kf_scope){
      .kind = kind, .node = node, .parent = parent, .name = KF_NO_SCOPE, .symbols = KF_NO_SCOPE,
      .class_name = parent == KF_NO_SCOPE ? KF_NO_SCOPE : s->scopes[parent].class_name};
  uint32_t scope = s->scope_count++;
  if (is_comprehension(&s->scopes[scope])) add_symbol(s, scope, intern(s, ".0", 2), KF_PARAMETER);
  return scope;
}

// An assignment expression in a comprehension binds in the first scope around that is none.
static void bind_walrus(struct kf_scopes *s, uint32_t scope, uint32_t name) {
  uint32_t home = scope;
  if (!is_comprehension(&s->scopes[scope])) return;
  while (is_comprehension(&s->scopes[home])) home = s->scopes[home].parent;
  if (s->scopes[home].kind == KF_SCOPE_MODULE) {
    add_symbol(s, scope, name, KF_DECLARED_GLOBAL);
    return;
  }
  uint32_t known = find_symbol(s, home, name);
  bool global = known != KF_NO_SCOPE && s->symbols[known].flags & KF_DECLARED_GLOBAL;
  add_symbol(s, scope, name, global ? KF_DECLARED_GLOBAL : KF_NONLOCAL);
  add_symbol(s, home, name, KF_ASSIGNED);
}

static unsigned flags_of(enum kf_context context) {
  switch (context) {
  case KF_STORES: case KF_DELETES: case KF_DEFINES: case KF_WALRUS: case KF_AUGMENTS: return KF_ASSIGNED;
  case KF_IS_PARAMETER: return KF_PARAMETER;
  case KF_IMPORTS: return KF_IMPORTED;
  case KF_SAYS_GLOBAL: return KF_DECLARED_GLOBAL;
  case KF_SAYS_NONLOCAL: return KF_NONLOCAL;
  default: return KF_REFERENCED;
  }
}

static bool is_text(const struct kf_scopes *s, uint32_t node, const char *text) {
  size_t length = s->tree->end[node] - s->tree->first[node];
  return length == strlen(text) && memcmp(s->tree->source + s->tree->first[node], text, length) == 0;
}

// A name that is only annotated, `x: int` (not in parentheses).
static bool is_annotated_target(const struct kf_scopes *s, uint32_t node, bool *assigned) {
  uint32_t parent = s->tree->parent[node];
  bool annotated = false;
  *assigned = false;
  if (kind_of(s, parent) != K_assignment || field_of(s, node) != F_left) return false;
  for (uint32_t child = parent + 1; child < s->tree->next[parent]; child = s->tree->next[child]) {
    if (field_of(s, child) == F_type) annotated = true;
    if (field_of(s, child) == F_right) *assigned = true;
  }
  return annotated;
}

static void add_occurrence(struct kf_scopes *s, uint32_t node, uint32_t scope, enum kf_context context) {
  if (scope == KF_NO_SCOPE || context == KF_IGNORED || !GROW(s, occurrence, occurrences)) return;
  uint32_t name = name_of(s, scope, node);
  unsigned flags = flags_of(context);
  bool assigned;
  if (context == KF_WALRUS) bind_walrus(s, scope, name);
  if (context == KF_STORES && is_annotated_target(s, node, &assigned)) flags |= KF_ANNOTATED;
  uint32_t symbol = add_symbol(s, scope, name, flags);
  // A function that says `super` needs its class.
  if (context == KF_LOADS && is_text(s, node, "super") && is_function(&s->scopes[scope]))
    add_symbol(s, scope, intern(s, "__class__", 9), KF_REFERENCED);
  s->occurrences[s->occurrence_count++] = (struct kf_occurrence){node, symbol, (uint8_t)context};
}

// --- contexts and scopes of nodes ---------------------------------------------------------------

static bool is_binding(enum kf_context context) {
  return context == KF_STORES || context == KF_DELETES || context == KF_IS_PARAMETER ||
         context == KF_MATCHES || context == KF_IMPORTS;
}

// Whether the node is in the list of type parameters of a definition or of a type alias's name.
static bool declares_types(const struct kf_scopes *s, uint32_t node) {
  for (uint32_t up = node; up; up = s->tree->parent[up]) {
    if (field_of(s, up) == F_type_parameters) return true;
    enum kind kind = kind_of(s, up);
    if (kind == K_type_alias_statement) return false;
    if (kind != K_type && kind != K_generic_type && kind != K_type_parameter &&
        kind != K_constrained_type && kind != K_splat_type && kind != K_identifier)
      return false;
    if (field_of(s, up) == F_left && kind_of(s, s->tree->parent[up]) == K_type_alias_statement) return true;
  }
  return false;
}

// The context of a child from its parent's kind and context.
static enum kf_context context_of(const struct kf_scopes *s, uint32_t node, uint32_t parent) {
  enum kf_context around = (enum kf_context)s->node_contexts[parent];
  enum field field = field_of(s, node);
  switch (kind_of(s, parent)) {
  case K_attribute: return field == F_attribute ? KF_IGNORED : KF_LOADS;
  case K_keyword_argument: return field == F_name ? KF_IGNORED : KF_LOADS;
  case K_assignment: return field == F_left ? KF_STORES : KF_LOADS;
  case K_augmented_assignment: return field == F_left ? KF_AUGMENTS : KF_LOADS;
  case K_for_statement: case K_for_in_clause: return field == F_left ? KF_STORES : KF_LOADS;
  case K_as_pattern:
    if (around == KF_MATCHES) return kind_of(s, node) == K_identifier ? KF_STORES : KF_MATCHES;
    return field == F_alias ? KF_STORES : KF_LOADS;
  case K_as_pattern_target: return KF_STORES;
  case K_pattern_list: case K_tuple_pattern: case K_list_pattern: case K_list_splat_pattern:
  case K_dictionary_splat_pattern: case K_tuple: case K_list: case K_parenthesized_expression:
  case K_expression_list: case K_list_splat:
    return is_binding(around) ? around : KF_LOADS;
  case K_named_expression: return field == F_name ? KF_WALRUS : KF_LOADS;
  case K_delete_statement: return KF_DELETES;
  case K_global_statement: return KF_SAYS_GLOBAL;
  case K_nonlocal_statement: return KF_SAYS_NONLOCAL;
  case K_import_statement: case K_future_import_statement: return KF_IMPORTS;
  case K_import_from_statement: return field == F_module_name ? KF_IGNORED : KF_IMPORTS;
  case K_aliased_import: return field == F_alias ? KF_IMPORTS : KF_IGNORED;
  case K_dotted_name:
    if (around == KF_IMPORTS) return node == parent + 1 ? KF_IMPORTS : KF_IGNORED;
    if (around == KF_MATCHES && s->tree->next[parent] == parent + 2) return KF_STORES;
    if (around == KF_IGNORED || node != parent + 1) return KF_IGNORED;
    return KF_LOADS;
  case K_parameters: case K_lambda_parameters: return KF_IS_PARAMETER;
  case K_default_parameter: case K_typed_default_parameter:
    return field == F_name ? KF_IS_PARAMETER : KF_LOADS;
  case K_typed_parameter: return field == F_type ? KF_LOADS : KF_IS_PARAMETER;
  case K_case_clause: return kind_of(s, node) == K_case_pattern ? KF_MATCHES : KF_LOADS;
  case K_class_pattern: return kind_of(s, node) == K_dotted_name ? KF_LOADS : KF_MATCHES;
  case K_keyword_pattern: return node == parent + 1 ? KF_IGNORED : KF_MATCHES;
  case K_splat_pattern: return KF_STORES;
  case K_dict_pattern: return field == F_key ? KF_LOADS : KF_MATCHES;
  case K_case_pattern: case K_union_pattern: case K_complex_pattern: return KF_MATCHES;
  case K_function_definition: case K_class_definition: return field == F_name ? KF_DEFINES : KF_LOADS;
  case K_member_type: return kind_of(s, node) == K_identifier ? KF_IGNORED : KF_LOADS;
  case K_type: case K_generic_type: case K_constrained_type: case K_splat_type:
    if (kind_of(s, node) != K_identifier || !declares_types(s, node)) return KF_LOADS;
    return kind_of(s, parent) == K_constrained_type && node != parent + 1 ? KF_LOADS : KF_STORES;
  default: return KF_LOADS;
  }
}

static bool is_annotation(const struct kf_scopes *s, uint32_t node, uint32_t parent) {
  if (kind_of(s, node) != K_type) return false;
  enum kind kind = kind_of(s, parent);
  return kind == K_typed_parameter || kind == K_typed_default_parameter || kind == K_assignment ||
         (kind == K_function_definition && field_of(s, node) == F_return_type);
}

// The scope that `opened` (a function's or class's own) stands in.
static uint32_t outside(const struct kf_scopes *s, uint32_t opened) {
  return s->scopes[opened].parent;
}

// The scope of a child: that of its parent, unless one of them opens or leaves a scope.
static uint32_t scope_of(struct kf_scopes *s, uint32_t node, uint32_t parent, uint32_t *opened) {
  uint32_t scope = s->node_scopes[parent], own = opened[parent];
  enum field field = field_of(s, node);
  switch (kind_of(s, parent)) {
  case K_function_definition:
    return field == F_body || field == F_parameters || field == F_type_parameters ? own : scope;
  case K_lambda: return field == F_body || field == F_parameters ? own : scope;
  case K_class_definition: return field == F_body || field == F_type_parameters ? own : scope;
  case K_list_comprehension: case K_set_comprehension: case K_dictionary_comprehension:
  case K_generator_expression: return own;
  case K_for_in_clause:
    if (field != F_right || s->scopes[scope].iterated) return scope;
    s->scopes[scope].iterated = true;
    return outside(s, scope);  // the first iterable is evaluated outside
  case K_default_parameter: case K_typed_default_parameter: case K_typed_parameter:
    return field == F_value || field == F_type ? outside(s, scope) : scope;
  default: return scope;
  }
}

static uint32_t open_scope(struct kf_scopes *s, uint32_t node, uint32_t scope) {
  static const uint8_t opens[] = {
      [K_function_definition] = KF_SCOPE_FUNCTION, [K_class_definition] = KF_SCOPE_CLASS,
      [K_lambda] = KF_SCOPE_LAMBDA, [K_list_comprehension] = KF_SCOPE_LIST,
      [K_set_comprehension] = KF_SCOPE_SET, [K_dictionary_comprehension] = KF_SCOPE_DICT,
      [K_generator_expression] = KF_SCOPE_GENERATOR, [K_splat_type] = 0};
  enum kind kind = kind_of(s, node);
  if (kind >= sizeof opens || !opens[kind] || scope == KF_NO_SCOPE) return KF_NO_SCOPE;
  uint32_t own = new_scope(s, (enum kf_scope_kind)opens[kind], node, scope);
  if (kind != K_function_definition && kind != K_class_definition) return own;
  for (uint32_t child = node + 1; child < s->tree->next[node]; child = s->tree->next[child]) {
    if (field_of(s, child) != F_name || kind_of(s, child) != K_identifier) continue;
    const char *text = s->tree->source + s->tree->first[child];
    uint32_t name = intern(s, text, s->tree->end[child] - s->tree->first[child]);
    s->scopes[own].name = name;
    if (kind == K_class_definition) s->scopes[own].class_name = name;
  }
  return own;
}

static bool has_future_annotations(const struct kf_scopes *s) {
  for (uint32_t node = 1; node < s->tree->count; node++)
    if (kind_of(s, node) == K_identifier && is_text(s, node, "annotations") &&
        kind_of(s, s->tree->parent[s->tree->parent[node]]) == K_future_import_statement)
      return true;
  return false;
}

// The pass over the nodes.
static void collect(struct kf_scopes *s, uint32_t *opened) {
  bool texts = has_future_annotations(s);  // then annotations are not evaluated at all
  new_scope(s, KF_SCOPE_MODULE, 0, KF_NO_SCOPE);
  s->node_scopes[0] = 0;
  s->node_contexts[0] = KF_LOADS;
  opened[0] = KF_NO_SCOPE;
  for (uint32_t node = 1; node < s->tree->count && !s->failed; node++) {
    uint32_t parent = s->tree->parent[node];
    uint32_t scope = s->node_scopes[parent];
    if (scope != KF_NO_SCOPE) scope = scope_of(s, node, parent, opened);
    if (texts && is_annotation(s, node, parent)) scope = KF_NO_SCOPE;
    s->node_scopes[node] = scope;
    s->node_contexts[node] = (uint8_t)context_of(s, node, parent);
    opened[node] = open_scope(s, node, scope);
    enum kind kind = kind_of(s, node);
    if (kind == K_identifier)
      add_occurrence(s, node, scope, (enum kf_context)s->node_contexts[node]);
    else if (kind == K_wildcard_import && scope != KF_NO_SCOPE)
      s->scopes[scope].star_import = true;
  }
}

// --- resolving ----------------------------------------------------------------------------------

// Climbs from the scope to the function that binds the name: its scope, or KF_NO_SCOPE when the
// name is global. `__class__` is bound by classes.
static uint32_t find_home(const struct kf_scopes *s, uint32_t scope, uint32_t name, bool is_class_cell) {
  for (uint32_t up = s->scopes[scope].parent; up != KF_NO_SCOPE && up != 0; up = s->scopes[up].parent) {
    if (s->scopes[up].kind == KF_SCOPE_CLASS) {
      if (is_class_cell) return up;
      continue;
    }
    uint32_t symbol = find_symbol(s, up, name);
    if (symbol == KF_NO_SCOPE) continue;
    unsigned flags = s->symbols[symbol].flags;
    if (flags & KF_DECLARED_GLOBAL) return KF_NO_SCOPE;
    if (flags & KF_NONLOCAL) continue;
    if (flags & KF_BOUND) return up;
  }
  return KF_NO_SCOPE;
}

// Marks the name free in the scopes between the one that uses it and its home, where it is a cell.
static void link_free(struct kf_scopes *s, uint32_t scope, uint32_t name, uint32_t home) {
  for (uint32_t up = s->scopes[scope].parent; up != home; up = s->scopes[up].parent) {
    uint32_t symbol = find_symbol(s, up, name);
    bool own = symbol != KF_NO_SCOPE &&
               s->symbols[symbol].flags & (KF_BOUND | KF_DECLARED_GLOBAL) &&
               !(s->symbols[symbol].flags & KF_NONLOCAL);
    if (own && s->scopes[up].kind == KF_SCOPE_CLASS) continue;  // the class's own name of that kind
    symbol = add_symbol(s, up, name, 0);
    s->symbols[symbol].resolution = KF_FREE;
    s->symbols[symbol].home = home;
  }
  if (s->scopes[home].kind == KF_SCOPE_CLASS) return;  // its __class__ is no name of its own
  uint32_t symbol = find_symbol(s, home, name);
  s->symbols[symbol].resolution = KF_CELL;
  s->symbols[symbol].home = home;
}

static void resolve(struct kf_scopes *s, uint32_t i, uint32_t class_cell) {
  struct kf_symbol symbol = s->symbols[i];
  bool outer = symbol.flags & KF_NONLOCAL || !(symbol.flags & KF_BOUND);
  if (symbol.resolution == KF_FREE || symbol.resolution == KF_CELL) return;
  symbol.home = 0;
  if (symbol.flags & KF_DECLARED_GLOBAL) {
    symbol.resolution = KF_GLOBAL_EXPLICIT;
  } else if (!outer) {
    symbol.resolution = KF_LOCAL;
    symbol.home = symbol.scope;
  } else {
    bool is_class_cell = symbol.name == class_cell && is_function(&s->scopes[symbol.scope]);
    uint32_t home = find_home(s, symbol.scope, symbol.name, is_class_cell);
    symbol.resolution = home == KF_NO_SCOPE ? KF_GLOBAL_IMPLICIT : KF_FREE;
    if (home != KF_NO_SCOPE) symbol.home = home;
  }
  s->symbols[i].resolution = symbol.resolution;
  s->symbols[i].home = symbol.home;
  if (symbol.resolution == KF_FREE) link_free(s, symbol.scope, symbol.name, symbol.home);
}

bool kf_scopes_find(struct kf_scopes *s, const struct kf_tree *tree) {
  *s = (struct kf_scopes){.tree = tree};
  look_up_grammar();
  uint32_t *opened = malloc(tree->count * sizeof *opened);
  s->node_scopes = malloc(tree->count * sizeof *s->node_scopes);
  s->node_contexts = malloc(tree->count);
  s->failed = !opened || !s->node_scopes || !s->node_contexts;
  if (!s->failed) collect(s, opened);
  free(opened);
  if (s->failed) return false;
  uint32_t class_cell = intern(s, "__class__", 9), found = s->symbol_count;
  for (uint32_t i = 0; i < found && !s->failed; i++) resolve(s, i, class_cell);
  return !s->failed;
}

void kf_scopes_free(struct kf_scopes *s) {
  for (uint32_t i = 0; i < s->owned_count; i++) free(s->owned[i]);
  free(s->owned);
  free(s->scopes);
  free(s->symbols);
  free(s->occurrences);
  free(s->names);
  free(s->name_table);
  free(s->symbol_table);
  free(s->node_scopes);
  free(s->node_contexts);
  *s = (struct kf_scopes){0};
}
