#include "scope.h"

#include "name.h"

#include <stdlib.h>
#include <string.h>

// The walk keeps its own stack: the depth of the source is the user's.
struct kf_work { uint32_t node, scope; uint8_t context, mutation, conditional; };

enum form {
  F_GENERIC, F_LEAF, F_IDENTIFIER, F_PASS, F_ATTRIBUTE, F_SUBSCRIPT, F_CALL, F_KEYWORD, F_ASSIGNMENT,
  F_AUGMENTED, F_WALRUS, F_DELETE, F_BRANCH, F_FOR, F_AS, F_BOOLEAN, F_CONDITIONAL, F_FUNCTION, F_LAMBDA,
  F_CLASS, F_COMPREHENSION, F_IMPORT, F_FUTURE, F_GLOBAL, F_NONLOCAL, F_DOTTED, F_KEYWORD_PATTERN,
  F_CLASS_PATTERN, F_MEMBER, F_ALIAS, F_PRINT
};
static const struct { const char *kind; enum form form; } forms[] = {
    {"identifier", F_IDENTIFIER}, {"comment", F_LEAF}, {"string_content", F_LEAF},
    {"type_conversion", F_LEAF}, {"tuple", F_PASS}, {"list", F_PASS}, {"pattern_list", F_PASS},
    {"expression_list", F_PASS}, {"tuple_pattern", F_PASS}, {"list_pattern", F_PASS},
    {"list_splat", F_PASS}, {"list_splat_pattern", F_PASS}, {"dictionary_splat_pattern", F_PASS},
    {"parenthesized_expression", F_PASS}, {"as_pattern_target", F_PASS}, {"attribute", F_ATTRIBUTE},
    {"subscript", F_SUBSCRIPT}, {"call", F_CALL}, {"keyword_argument", F_KEYWORD},
    {"assignment", F_ASSIGNMENT}, {"augmented_assignment", F_AUGMENTED}, {"named_expression", F_WALRUS},
    {"delete_statement", F_DELETE}, {"if_statement", F_BRANCH}, {"while_statement", F_BRANCH},
    {"try_statement", F_BRANCH}, {"match_statement", F_BRANCH}, {"for_statement", F_FOR},
    {"as_pattern", F_AS}, {"except_clause", F_AS}, {"boolean_operator", F_BOOLEAN},
    {"conditional_expression", F_CONDITIONAL}, {"function_definition", F_FUNCTION}, {"lambda", F_LAMBDA},
    {"class_definition", F_CLASS}, {"list_comprehension", F_COMPREHENSION},
    {"set_comprehension", F_COMPREHENSION}, {"dictionary_comprehension", F_COMPREHENSION},
    {"generator_expression", F_COMPREHENSION}, {"import_statement", F_IMPORT},
    {"import_from_statement", F_IMPORT}, {"future_import_statement", F_FUTURE},
    {"global_statement", F_GLOBAL}, {"nonlocal_statement", F_NONLOCAL}, {"dotted_name", F_DOTTED},
    {"splat_pattern", F_DOTTED}, {"keyword_pattern", F_KEYWORD_PATTERN},
    {"class_pattern", F_CLASS_PATTERN}, {"member_type", F_MEMBER}, {"type_alias_statement", F_ALIAS},
    {"print_statement", F_PRINT}, {"exec_statement", F_PRINT},
};


// The numbers that the grammar gives our forms and fields: looked up once, the same ever after.
struct grammar { bool known; uint8_t form[1024]; uint16_t field[16]; };

struct walk { struct kf_scopes *s; const struct kf_tree *t; const struct grammar *grammar; };
enum field { NAME, VALUE, TYPE, LEFT, RIGHT, BODY, OBJECT, FUNCTION, ARGUMENTS, PARAMETERS, RETURN_TYPE,
             SUPERCLASSES, TYPE_PARAMETERS, ALIAS, CONDITION, SUBJECT };
static const char *const field_names[] = {"name", "value", "type", "left", "right", "body", "object",
  "function", "arguments", "parameters", "return_type", "superclasses", "type_parameters", "alias",
  "condition", "subject"};

static bool room(struct kf_scopes *s, void **array, uint32_t count, uint32_t *capacity, size_t size) {
  if (count < *capacity) return true;
  uint32_t larger = *capacity ? *capacity * 2 : 64;
  void *moved = realloc(*array, larger * size);
  if (!moved) { s->failed = true; return false; }
  *array = moved;
  *capacity = larger;
  return true;
}
#define ROOM(s, array, count, capacity) \
  room(s, (void **)&(s)->array, (s)->count, &(s)->capacity, sizeof *(s)->array)

static uint32_t hash_text(const char *data, size_t size) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)data[i]) * 16777619u;
  return hash;
}
static uint32_t hash_pair(uint32_t scope, uint32_t text) {
  uint32_t hash = scope * 2654435761u ^ text * 2246822519u;
  return hash ^ hash >> 15;
}
static uint32_t text_hash_of(const struct kf_scopes *s, uint32_t i) {
  return hash_text(s->texts[i].data, s->texts[i].size);
}
static uint32_t name_hash_of(const struct kf_scopes *s, uint32_t i) {
  return hash_pair(s->names[i].scope, s->names[i].text);
}

// Open addressing; slots hold index + 1. Kept at most half full.
static bool widen(struct kf_scopes *s, uint32_t **table, uint32_t *size, uint32_t count,
                  uint32_t (*hash_of)(const struct kf_scopes *, uint32_t)) {
  if (*size > count * 2 + 1) return true;
  uint32_t larger = *size ? *size * 2 : 256;
  uint32_t *slots = calloc(larger, sizeof *slots);
  if (!slots) { s->failed = true; return false; }
  for (uint32_t i = 0; i < count; i++) {
    uint32_t at = hash_of(s, i) & (larger - 1);
    while (slots[at]) at = (at + 1) & (larger - 1);
    slots[at] = i + 1;
  }
  free(*table);
  *table = slots;
  *size = larger;
  return true;
}

static uint32_t intern(struct kf_scopes *s, const char *data, size_t size) {
  if (!widen(s, &s->text_table, &s->text_table_size, s->text_count, text_hash_of)) return 0;
  uint32_t mask = s->text_table_size - 1, at = hash_text(data, size) & mask;
  for (; s->text_table[at]; at = (at + 1) & mask) {
    const struct kf_text *text = &s->texts[s->text_table[at] - 1];
    if (text->size == size && !memcmp(text->data, data, size)) return s->text_table[at] - 1;
  }
  if (!ROOM(s, texts, text_count, text_capacity)) return 0;
  s->texts[s->text_count] = (struct kf_text){data, size};
  s->text_table[at] = ++s->text_count;
  return s->text_count - 1;
}

// Interns a text that is ours to free.
static uint32_t intern_owned(struct kf_scopes *s, char *text, size_t size) {
  if (!text || !ROOM(s, owned, owned_count, owned_capacity)) {
    free(text);
    s->failed = true;
    return 0;
  }
  uint32_t before = s->text_count, id = intern(s, text, size);
  if (s->text_count > before) s->owned[s->owned_count++] = text;
  else free(text);
  return id;
}

// A name as it is written, in the form in which Python knows it.
static uint32_t intern_name(struct kf_scopes *s, const char *data, size_t size) {
  if (!kf_name_is_wide(data, size)) return intern(s, data, size);
  char *room = malloc(kf_name_room(size));
  size_t length = room ? kf_name_normal(data, size, room) : 0;
  return intern_owned(s, room, length);
}

static uint32_t find_name(const struct kf_scopes *s, uint32_t scope, uint32_t text) {
  if (!s->name_table_size) return KF_NONE;
  uint32_t mask = s->name_table_size - 1, at = hash_pair(scope, text) & mask;
  for (; s->name_table[at]; at = (at + 1) & mask) {
    const struct kf_name *name = &s->names[s->name_table[at] - 1];
    if (name->scope == scope && name->text == text) return s->name_table[at] - 1;
  }
  return KF_NONE;
}

static uint32_t add_name(struct kf_scopes *s, uint32_t scope, uint32_t text, uint8_t flags) {
  uint32_t found = find_name(s, scope, text);
  if (found != KF_NONE) { s->names[found].flags |= flags; return found; }
  if (!widen(s, &s->name_table, &s->name_table_size, s->name_count, name_hash_of)) return 0;
  if (!ROOM(s, names, name_count, name_capacity)) return 0;
  uint32_t mask = s->name_table_size - 1, at = hash_pair(scope, text) & mask;
  while (s->name_table[at]) at = (at + 1) & mask;
  uint32_t new = s->name_count++;
  s->name_table[at] = new + 1;
  s->names[new] = (struct kf_name){scope, text, KF_NONE, KF_NONE, flags, KF_UNKNOWN};
  struct kf_scope *owner = &s->scopes[scope];
  if (owner->first_name == KF_NONE) owner->first_name = new;
  else s->names[owner->last_name].next = new;
  owner->last_name = new;
  return new;
}

static uint32_t add_scope(struct walk *w, uint8_t kind, uint32_t node, uint32_t parent, const char *name,
                          size_t size) {
  struct kf_scopes *s = w->s;
  uint32_t text = intern_name(s, name, size);
  if (!ROOM(s, scopes, scope_count, scope_capacity)) return 0;
  uint32_t private_name = parent == KF_NONE ? KF_NONE : s->scopes[parent].private_name;
  s->scopes[s->scope_count] = (struct kf_scope){node, parent, text, KF_NONE, KF_NONE,
                                                kind == KF_CLASS ? text : private_name, kind};
  return s->scope_count++;
}

// __name in a class is _Class__name.
static uint32_t mangled(struct walk *w, uint32_t scope, const char *data, size_t size) {
  struct kf_scopes *s = w->s;
  uint32_t private_name = s->scopes[scope].private_name;
  if (private_name == KF_NONE || size < 3 || memcmp(data, "__", 2) != 0 ||
      memcmp(data + size - 2, "__", 2) == 0)
    return intern_name(s, data, size);
  uint32_t plain = intern_name(s, data, size);
  if (s->failed) return 0;
  data = s->texts[plain].data, size = s->texts[plain].size;
  struct kf_text class = s->texts[private_name];
  while (class.size && *class.data == '_') class.data++, class.size--;
  if (!class.size) return intern(s, data, size);
  size_t length = 1 + class.size + size;
  char *text = malloc(length);
  if (!text) { s->failed = true; return 0; }
  text[0] = '_';
  memcpy(text + 1, class.data, class.size);
  memcpy(text + 1 + class.size, data, size);
  return intern_owned(s, text, length);
}

static const char *text_of(const struct walk *w, uint32_t node, size_t *size) {
  *size = w->t->end[node] - w->t->first[node];
  return w->t->source + w->t->first[node];
}
static bool says(const struct walk *w, uint32_t node, const char *text) {
  size_t size;
  const char *data = text_of(w, node, &size);
  return size == strlen(text) && !memcmp(data, text, size);
}
static uint32_t first_child(const struct walk *w, uint32_t node) {
  return node + 1 < w->t->next[node] ? node + 1 : KF_NONE;
}
static uint32_t sibling(const struct walk *w, uint32_t node) {
  uint32_t next = w->t->next[node];
  return next < w->t->next[w->t->parent[node]] ? next : KF_NONE;
}
static bool named(const struct walk *w, uint32_t node) {
  return w->t->flags[node] & KF_NODE_NAMED;
}
static enum form form_of(const struct walk *w, uint32_t node) {
  uint16_t kind = w->t->kind[node];
  return named(w, node) && kind < sizeof w->grammar->form ? (enum form)w->grammar->form[kind] : F_GENERIC;
}
static bool has_field(const struct walk *w, uint32_t node, enum field field) {
  return w->t->field[node] == w->grammar->field[field];
}
static uint32_t child(const struct walk *w, uint32_t node, enum field field) {
  for (uint32_t c = first_child(w, node); c != KF_NONE; c = sibling(w, c))
    if (has_field(w, c, field) && named(w, c)) return c;
  return KF_NONE;
}
// NOLINTBEGIN(bugprone-macro-parentheses): c is declared here
#define EACH_CHILD(w, c, node) \
  for (uint32_t c = first_child(w, node); c != KF_NONE; c = sibling(w, c)) if (named(w, c))
// NOLINTEND(bugprone-macro-parentheses)

static bool is_function(uint8_t kind) {
  return kind != KF_MODULE && kind != KF_CLASS;
}

static void push(struct walk *w, struct kf_work item) {
  struct kf_scopes *s = w->s;
  if (item.node != KF_NONE && ROOM(s, work, work_count, work_capacity)) s->work[s->work_count++] = item;
}
static void later(struct walk *w, struct kf_work from, uint32_t node, uint32_t scope, uint8_t context) {
  push(w, (struct kf_work){node, scope, context, 0, from.conditional});
}
static void later_maybe(struct walk *w, uint32_t node, uint32_t scope, uint8_t context) {
  push(w, (struct kf_work){node, scope, context, 0, 1});
}

static const uint8_t flags_of[] = {
    [KF_LOAD] = KF_HAS_USE, [KF_STORE] = KF_HAS_LOCAL, [KF_DELETE] = KF_HAS_LOCAL,
    [KF_UPDATE] = KF_HAS_LOCAL, [KF_PARAMETER] = KF_HAS_PARAMETER, [KF_IMPORT] = KF_HAS_IMPORT,
    [KF_DEFINITION] = KF_HAS_LOCAL, [KF_GLOBAL] = KF_HAS_GLOBAL, [KF_NONLOCAL] = KF_HAS_NONLOCAL,
    [KF_ANNOTATION] = KF_HAS_LOCAL | KF_HAS_ANNOTATION};

static uint32_t occur(struct walk *w, struct kf_work at) {
  struct kf_scopes *s = w->s;
  size_t size;
  const char *data = text_of(w, at.node, &size);
  uint32_t text = mangled(w, at.scope, data, size);
  uint32_t name = add_name(s, at.scope, text, flags_of[at.context]);
  if (at.context == KF_GLOBAL) add_name(s, 0, text, KF_HAS_GLOBAL);  // the module's, too
  if (at.context == KF_LOAD && size == 5 && !memcmp(data, "super", 5) && is_function(s->scopes[at.scope].kind))
    add_name(s, at.scope, intern(s, "__class__", 9), KF_HAS_USE);
  if (ROOM(s, occurrences, occurrence_count, occurrence_capacity))
    s->occurrences[s->occurrence_count++] =
        (struct kf_occurrence){at.node, name, at.context, at.mutation, at.conditional};
  return text;
}

static uint8_t mutation_of(struct kf_work at) {
  if (at.context == KF_STORE || at.context == KF_UPDATE) return KF_MUTATION_STORE;
  return at.context == KF_DELETE ? KF_MUTATION_DELETE : at.mutation;
}

static void visit_assignment(struct walk *w, struct kf_work at) {
  uint32_t left = child(w, at.node, LEFT), right = child(w, at.node, RIGHT), type = child(w, at.node, TYPE);
  later(w, at, right, at.scope, KF_LOAD);
  bool simple = type != KF_NONE && left != KF_NONE && form_of(w, left) == F_IDENTIFIER;
  if (simple && right != KF_NONE) {
    size_t size;
    const char *data = text_of(w, left, &size);
    add_name(w->s, at.scope, mangled(w, at.scope, data, size), KF_HAS_ANNOTATION);
  }
  bool nothing = type != KF_NONE && right == KF_NONE && left != KF_NONE && form_of(w, left) == F_PASS;
  if (!nothing)  // `(x): int` neither binds nor reads
    later(w, at, left, at.scope, simple && right == KF_NONE ? KF_ANNOTATION : KF_STORE);
  if (!w->s->future_annotations) later(w, at, type, at.scope, KF_LOAD);
}

// A walrus in comprehensions binds in the function, or the module, around them.
static void bind_outside(struct walk *w, uint32_t scope, uint32_t node) {
  struct kf_scopes *s = w->s;
  uint32_t target = scope;
  while (s->scopes[target].kind == KF_COMPREHENSION) target = s->scopes[target].parent;
  if (target == scope) return;
  size_t size;
  const char *data = text_of(w, node, &size);
  uint32_t text = mangled(w, scope, data, size);
  bool module = s->scopes[target].kind == KF_MODULE;
  uint32_t found = find_name(s, target, text);
  bool global = module || (found != KF_NONE && s->names[found].flags & KF_HAS_GLOBAL);
  add_name(s, scope, text, global ? KF_HAS_GLOBAL : KF_HAS_NONLOCAL);
  if (global) add_name(s, 0, text, KF_HAS_GLOBAL);
  if (!module) add_name(s, target, text, KF_HAS_LOCAL);
}

static uint32_t enter_type_parameters(struct walk *w, struct kf_work at, uint32_t list) {
  if (list == KF_NONE) return at.scope;
  size_t size;
  uint32_t name = child(w, at.node, NAME);
  const char *text = text_of(w, name == KF_NONE ? at.node : name, &size);
  uint32_t scope = add_scope(w, KF_TYPE_PARAMETERS, at.node, at.scope, text, size);
  EACH_CHILD(w, type, list) {
    uint32_t inner = type, bound = KF_NONE;
    while (inner != KF_NONE && form_of(w, inner) != F_IDENTIFIER) {  // T: bound, *T, **T
      uint32_t first = KF_NONE;
      EACH_CHILD(w, part, inner) {
        if (first == KF_NONE) first = part;
        else if (bound == KF_NONE) bound = part;
      }
      inner = first;
    }
    later(w, at, inner, scope, KF_STORE);
    later(w, at, bound, scope, KF_LOAD);
  }
  return scope;
}

static void visit_parameters(struct walk *w, struct kf_work at, uint32_t list, uint32_t outer, uint32_t types) {
  if (list == KF_NONE) return;
  EACH_CHILD(w, p, list) later(w, at, child(w, p, VALUE), outer, KF_LOAD);
  if (!w->s->future_annotations)
    EACH_CHILD(w, p, list) later(w, at, child(w, p, TYPE), types, KF_LOAD);
}
static void bind_parameters(struct walk *w, uint32_t list, uint32_t scope) {
  if (list == KF_NONE) return;
  EACH_CHILD(w, p, list) {
    uint32_t name = child(w, p, NAME);
    if (name == KF_NONE && child(w, p, TYPE) != KF_NONE) name = first_child(w, p);
    push(w, (struct kf_work){name == KF_NONE ? p : name, scope, KF_PARAMETER, 0, 0});
  }
}

static void visit_function(struct walk *w, struct kf_work at) {
  uint32_t parameters = child(w, at.node, PARAMETERS), name = child(w, at.node, NAME);
  bool lambda = form_of(w, at.node) == F_LAMBDA;
  size_t size = 6;
  const char *text = lambda || name == KF_NONE ? "lambda" : text_of(w, name, &size);
  uint32_t types = enter_type_parameters(w, at, child(w, at.node, TYPE_PARAMETERS));
  visit_parameters(w, at, parameters, at.scope, types);
  if (!w->s->future_annotations) later(w, at, child(w, at.node, RETURN_TYPE), types, KF_LOAD);
  later(w, at, name, at.scope, KF_DEFINITION);
  uint32_t scope = add_scope(w, lambda ? KF_LAMBDA : KF_FUNCTION, at.node, types, text, size);
  bind_parameters(w, parameters, scope);
  push(w, (struct kf_work){child(w, at.node, BODY), scope, KF_LOAD, 0, 0});
}

static void visit_class(struct walk *w, struct kf_work at) {
  uint32_t name = child(w, at.node, NAME);
  size_t size;
  const char *text = text_of(w, name == KF_NONE ? at.node : name, &size);
  uint32_t types = enter_type_parameters(w, at, child(w, at.node, TYPE_PARAMETERS));
  later(w, at, child(w, at.node, SUPERCLASSES), types, KF_LOAD);
  uint32_t scope = add_scope(w, KF_CLASS, at.node, types, text, size);
  push(w, (struct kf_work){child(w, at.node, BODY), scope, KF_LOAD, 0, at.conditional});
  later(w, at, name, at.scope, KF_DEFINITION);
}

static void visit_comprehension(struct walk *w, struct kf_work at) {
  static const char *const names[] = {"listcomp", "setcomp", "dictcomp", "genexpr"};
  const char *kind = kf_tree_kind_name(w->t->kind[at.node]);
  const char *name = names[*kind == 'l' ? 0 : *kind == 's' ? 1 : *kind == 'd' ? 2 : 3];
  uint32_t scope = add_scope(w, KF_COMPREHENSION, at.node, at.scope, name, strlen(name));
  add_name(w->s, scope, intern(w->s, ".0", 2), KF_HAS_PARAMETER);
  bool first = true;
  uint32_t body = child(w, at.node, BODY);
  EACH_CHILD(w, clause, at.node) {
    if (clause == body) continue;
    uint32_t left = child(w, clause, LEFT);
    if (left == KF_NONE) { later_maybe(w, clause, scope, KF_LOAD); continue; }
    EACH_CHILD(w, part, clause)
      if (part != left) push(w, (struct kf_work){part, first ? at.scope : scope, KF_LOAD, 0,
                                                 first ? at.conditional : 1});
    later_maybe(w, left, scope, KF_STORE);
    first = false;
  }
  later_maybe(w, body, scope, KF_LOAD);
}

static void visit_import(struct walk *w, struct kf_work at) {
  EACH_CHILD(w, part, at.node) {
    if (!has_field(w, part, NAME)) continue;
    uint32_t alias = child(w, part, ALIAS);
    later(w, at, alias != KF_NONE ? alias : first_child(w, part), at.scope, KF_IMPORT);
    if (form_of(w, at.node) == F_FUTURE &&
        says(w, alias == KF_NONE ? part : child(w, part, NAME), "annotations"))
      w->s->future_annotations = true;
  }
}

// In a pattern a name alone captures (but _), a dotted one is looked up.
static void visit_dotted(struct walk *w, struct kf_work at) {
  uint32_t count = 0, name = KF_NONE;
  EACH_CHILD(w, part, at.node) if (!count++) name = part;
  if (count == 1 && says(w, name, "_")) return;
  later(w, at, name, at.scope, count == 1 ? KF_STORE : KF_LOAD);
}

static void visit_as(struct walk *w, struct kf_work at) {
  uint32_t alias = child(w, at.node, ALIAS), last = KF_NONE;
  bool except = form_of(w, at.node) == F_AS && w->t->field[at.node] == 0 && child(w, at.node, VALUE) != KF_NONE;
  EACH_CHILD(w, part, at.node) if (form_of(w, part) != F_LEAF) last = part;
  if (alias == KF_NONE && !except && last != KF_NONE && form_of(w, last) == F_IDENTIFIER &&
      last != first_child(w, at.node)) alias = last;  // `case pattern as name`
  EACH_CHILD(w, part, at.node)
    later(w, at, part, at.scope, part == alias ? KF_STORE : KF_LOAD);
}

static void visit_branch(struct walk *w, struct kf_work at) {
  EACH_CHILD(w, part, at.node) {
    bool always = has_field(w, part, CONDITION) || has_field(w, part, SUBJECT);
    push(w, (struct kf_work){part, at.scope, KF_LOAD, 0, always ? at.conditional : 1});
  }
}

static void visit_print(struct walk *w, struct kf_work at) {
  struct kf_work keyword = at;
  keyword.node = at.node + 1;  // `print`, `exec` and `type` are names where they are no statements
  occur(w, keyword);
  EACH_CHILD(w, part, at.node) later(w, at, part, at.scope, KF_LOAD);
}

static void visit_alias(struct walk *w, struct kf_work at) {
  uint32_t left = child(w, at.node, LEFT), name = left, list = KF_NONE;
  uint32_t inner = left == KF_NONE ? KF_NONE : first_child(w, left);
  if (inner != KF_NONE && form_of(w, inner) != F_IDENTIFIER &&
      strcmp(kf_tree_kind_name(w->t->kind[inner]), "generic_type") != 0) {
    visit_print(w, at);  // `type(x).y = z` is an assignment that the grammar takes for an alias
    return;
  }
  while (name != KF_NONE && form_of(w, name) != F_IDENTIFIER) {
    EACH_CHILD(w, part, name) if (form_of(w, part) != F_IDENTIFIER) list = part;
    name = first_child(w, name);
  }
  later(w, at, name, at.scope, KF_DEFINITION);
  uint32_t scope = list != KF_NONE && list != first_child(w, left) ? enter_type_parameters(w, at, list) : at.scope;
  size_t size = 0;
  const char *text = name == KF_NONE ? "" : text_of(w, name, &size);
  scope = add_scope(w, KF_TYPE_PARAMETERS, at.node, scope, text, size);
  later(w, at, child(w, at.node, RIGHT), scope, KF_LOAD);
}

static void visit_children(struct walk *w, struct kf_work at, uint8_t context) {
  EACH_CHILD(w, part, at.node) later(w, at, part, at.scope, context);
}

static void visit(struct walk *w, struct kf_work at) {
  uint32_t node = at.node, one;
  switch (form_of(w, node)) {
  case F_LEAF: break;
  case F_IDENTIFIER: occur(w, at); break;
  case F_PASS: visit_children(w, at, at.context); break;
  case F_DELETE: visit_children(w, at, KF_DELETE); break;
  case F_GLOBAL: visit_children(w, at, KF_GLOBAL); break;
  case F_NONLOCAL: visit_children(w, at, KF_NONLOCAL); break;
  case F_ATTRIBUTE:
    push(w, (struct kf_work){child(w, node, OBJECT), at.scope, KF_LOAD, mutation_of(at), at.conditional});
    break;
  case F_SUBSCRIPT:
    one = child(w, node, VALUE);
    push(w, (struct kf_work){one, at.scope, KF_LOAD, mutation_of(at), at.conditional});
    EACH_CHILD(w, part, node) if (part != one) later(w, at, part, at.scope, KF_LOAD);
    break;
  case F_CALL:
    one = child(w, node, FUNCTION);
    push(w, (struct kf_work){one, at.scope, KF_LOAD,
      one != KF_NONE && form_of(w, one) == F_ATTRIBUTE ? KF_MUTATION_CALL : 0, at.conditional});
    later(w, at, child(w, node, ARGUMENTS), at.scope, KF_LOAD);
    break;
  case F_KEYWORD: later(w, at, child(w, node, VALUE), at.scope, KF_LOAD); break;
  case F_ASSIGNMENT: visit_assignment(w, at); break;
  case F_AUGMENTED:
    later(w, at, child(w, node, RIGHT), at.scope, KF_LOAD);
    later(w, at, child(w, node, LEFT), at.scope, KF_UPDATE);
    break;
  case F_WALRUS:
    one = child(w, node, NAME);
    later(w, at, child(w, node, VALUE), at.scope, KF_LOAD);
    if (one != KF_NONE) bind_outside(w, at.scope, one);
    later(w, at, one, at.scope, KF_STORE);
    break;
  case F_BRANCH: visit_branch(w, at); break;
  case F_FOR:
    one = child(w, node, RIGHT);
    later(w, at, one, at.scope, KF_LOAD);
    EACH_CHILD(w, part, node) if (part != one)
      later_maybe(w, part, at.scope, has_field(w, part, LEFT) ? KF_STORE : KF_LOAD);
    break;
  case F_AS: visit_as(w, at); break;
  case F_BOOLEAN:
    later(w, at, child(w, node, LEFT), at.scope, KF_LOAD);
    later_maybe(w, child(w, node, RIGHT), at.scope, KF_LOAD);
    break;
  case F_CONDITIONAL: {
    uint32_t index = 0;
    EACH_CHILD(w, part, node) if (form_of(w, part) != F_LEAF && index++ == 1) later(w, at, part, at.scope, KF_LOAD);
    index = 0;
    EACH_CHILD(w, part, node) if (form_of(w, part) != F_LEAF && index++ != 1) later_maybe(w, part, at.scope, KF_LOAD);
    break;
  }
  case F_FUNCTION: case F_LAMBDA: visit_function(w, at); break;
  case F_CLASS: visit_class(w, at); break;
  case F_COMPREHENSION: visit_comprehension(w, at); break;
  case F_IMPORT: case F_FUTURE: visit_import(w, at); break;
  case F_DOTTED: visit_dotted(w, at); break;
  case F_KEYWORD_PATTERN:
    one = first_child(w, node);
    EACH_CHILD(w, part, node) if (part != one) later(w, at, part, at.scope, KF_LOAD);
    break;
  case F_CLASS_PATTERN:
    one = first_child(w, node);
    if (one != KF_NONE) later(w, at, first_child(w, one), at.scope, KF_LOAD);
    EACH_CHILD(w, part, node) if (part != one) later(w, at, part, at.scope, KF_LOAD);
    break;
  case F_MEMBER: later(w, at, first_child(w, node), at.scope, KF_LOAD); break;
  case F_ALIAS: visit_alias(w, at); break;
  case F_PRINT: visit_print(w, at); break;
  case F_GENERIC: visit_children(w, at, KF_LOAD); break;
  }
}

static void walk_all(struct walk *w) {
  struct kf_scopes *s = w->s;
  push(w, (struct kf_work){0, 0, KF_LOAD, 0, 0});
  while (s->work_count && !s->failed) {
    uint32_t base = --s->work_count;
    visit(w, s->work[base]);
    // What the visit pushed in order of evaluation comes off the stack in that order.
    for (uint32_t low = base, high = s->work_count; low + 1 < high; low++) {
      struct kf_work item = s->work[low];
      s->work[low] = s->work[--high];
      s->work[high] = item;
    }
  }
}

static bool is_bound_in(const struct kf_scopes *s, uint32_t scope, uint32_t text) {
  uint32_t found = find_name(s, scope, text);
  return found != KF_NONE && s->names[found].flags & KF_HAS_BINDING;
}

static uint32_t holder(const struct kf_scopes *s, uint32_t scope, uint32_t text) {
  bool in_annotation = s->scopes[scope].kind == KF_TYPE_PARAMETERS;  // these do see the class around them
  for (uint32_t p = s->scopes[scope].parent; p != KF_NONE; p = s->scopes[p].parent) {
    const struct kf_text *name = &s->texts[text];
    if (s->scopes[p].kind == KF_CLASS && in_annotation && is_bound_in(s, p, text)) return p;
    in_annotation = in_annotation && s->scopes[p].kind == KF_TYPE_PARAMETERS;
    if (s->scopes[p].kind == KF_CLASS && name->size == 9 && !memcmp(name->data, "__class__", 9)) return p;
    if (!is_function(s->scopes[p].kind)) continue;
    uint32_t found = find_name(s, p, text);
    if (found == KF_NONE) continue;
    uint8_t flags = s->names[found].flags;
    if (flags & KF_HAS_GLOBAL) return KF_NONE;
    if (flags & KF_HAS_BINDING && !(flags & KF_HAS_NONLOCAL)) return p;
  }
  return KF_NONE;
}

// The name becomes free in every scope between, and a cell where it is held.
static void mark_free(struct kf_scopes *s, uint32_t index, uint32_t owner) {
  uint32_t text = s->names[index].text;
  s->names[index].where = KF_FREE;
  s->names[index].owner = owner;
  for (uint32_t p = s->scopes[s->names[index].scope].parent; p != owner; p = s->scopes[p].parent) {
    if (find_name(s, p, text) != KF_NONE) continue;
    uint32_t between = add_name(s, p, text, 0);
    if (s->failed) return;
    s->names[between].where = KF_FREE;
    s->names[between].owner = owner;
  }
  uint32_t held = find_name(s, owner, text);
  if (held != KF_NONE && is_function(s->scopes[owner].kind)) s->names[held].where = KF_CELL;
}

static void resolve(struct kf_scopes *s) {
  uint32_t count = s->name_count;
  for (uint32_t i = 0; i < count; i++)
    if (s->names[i].flags & KF_HAS_BINDING) s->names[i].where = KF_LOCAL;
  for (uint32_t i = 0; i < count && !s->failed; i++) {
    uint8_t flags = s->names[i].flags;
    if (flags & KF_HAS_GLOBAL) { s->names[i].where = KF_GLOBAL_EXPLICIT; continue; }
    if (flags & KF_HAS_BINDING && !(flags & KF_HAS_NONLOCAL)) continue;
    uint32_t owner = holder(s, s->names[i].scope, s->names[i].text);
    if (owner == KF_NONE) s->names[i].where = KF_GLOBAL_IMPLICIT;
    else mark_free(s, i, owner);
  }
}

static const struct grammar *grammar(void) {
  static struct grammar g;
  if (g.known) return &g;
  for (unsigned kind = 0; kind < kf_tree_kinds() && kind < sizeof g.form; kind++)
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
      if (strcmp(forms[i].kind, kf_tree_kind_name((uint16_t)kind)) == 0) g.form[kind] = (uint8_t)forms[i].form;
  for (size_t i = 0; i < sizeof field_names / sizeof *field_names; i++) g.field[i] = kf_tree_field(field_names[i]);
  g.known = true;
  return &g;
}

bool kf_scopes_resolve(struct kf_scopes *s, const struct kf_tree *tree) {
  struct walk w = {.s = s, .t = tree, .grammar = grammar()};
  add_scope(&w, KF_MODULE, 0, KF_NONE, "top", 3);
  if (!s->failed) walk_all(&w);
  if (!s->failed) resolve(s);
  return !s->failed;
}

void kf_scopes_free(struct kf_scopes *s) {
  for (uint32_t i = 0; i < s->owned_count; i++) free(s->owned[i]);
  free(s->owned); free(s->texts); free(s->scopes); free(s->names); free(s->occurrences);
  free(s->text_table); free(s->name_table); free(s->work);
  *s = (struct kf_scopes){0};
}
