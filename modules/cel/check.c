// Types of an expression before it is run, as far as they are known: what Kubernetes refuses to install is
// refused here. A variable may be of any type. Which overloads a function has is asked of the function itself:
// it is called with samples of the types, and one that it has answers with something else than "no such overload".
#include "cel.h"

#include "error.h"

#include <string.h>

enum { DYN = CEL_CIDR + 1, TYPES = DYN, VARIANTS = 8, MOST_ARGUMENTS = 8 };

struct checker {
  struct cel_run run;  // of samples
  struct kf_tree *tree;
};

static int check(struct checker *c, const struct cel_node *node);

static const char *name_of(int type) {
  static const char *const names[] = {
      "error", "null", "bool", "int", "uint", "double", "string", "bytes", "list(dyn)", "map(dyn, dyn)", "type(dyn)",
      "timestamp", "duration", "optional_type(dyn)", "kubernetes.Quantity", "kubernetes.URL", "net.IP", "net.CIDR", "dyn"};
  return names[type];
}

// --- samples --------------------------------------------------------------------------------------------

static struct cel_value made_by(struct checker *c, const char *function, const char *text) {
  bool known = false;
  struct cel_value argument = cel_text(text);
  return cel_find_function(function, strlen(function), false, 1, &known)->function(&c->run, &argument, 1);
}

static struct cel_value sample(struct checker *c, int type, int variant) {
  static const char *const texts[VARIANTS] = {"1", "a", "true", "1s", "2020-01-01T00:00:00Z", "10.0.0.1",
                                              "10.0.0.0/8", "https://host/path"};
  static const struct cel_list no_items;
  static const struct cel_map no_members;
  switch (type) {
  case CEL_BOOL: return cel_bool(true);
  case CEL_INT: return cel_int(1);
  case CEL_UINT: return cel_uint(1);
  case CEL_DOUBLE: return cel_double(1);
  case CEL_STRING: return cel_text(texts[variant]);
  case CEL_BYTES: return (struct cel_value){.type = CEL_BYTES, .text = "a", .length = 1};
  case CEL_LIST: return (struct cel_value){.type = CEL_LIST, .list = &no_items};
  case CEL_MAP: return (struct cel_value){.type = CEL_MAP, .map = &no_members};
  case CEL_TYPE: return cel_type_named("int");
  case CEL_TIMESTAMP: return made_by(c, "timestamp", texts[4]);
  case CEL_DURATION: return made_by(c, "duration", texts[3]);
  case CEL_OPTIONAL: return cel_optional(&c->run, NULL);
  case CEL_QUANTITY: return made_by(c, "quantity", texts[0]);
  case CEL_URL: return made_by(c, "url", texts[7]);
  case CEL_IP: return made_by(c, "ip", texts[5]);
  case CEL_CIDR: return made_by(c, "cidr", texts[6]);
  default: return (struct cel_value){.type = CEL_NULL};
  }
}

static bool is_no_overload(const struct cel_value *value) {
  static const char text[] = "no such overload";
  return value->type == CEL_ERROR && value->length == sizeof text - 1 && memcmp(value->text, text, value->length) == 0;
}

// What is known of a call: whether some overload takes the types, and the type of all results that were seen.
struct outcome {
  bool taken;
  int result;  // -1: none was seen
};

static void try_samples(struct checker *c, const struct cel_entry *function, const int *types, size_t count,
                        struct outcome *outcome) {
  struct cel_value arguments[MOST_ARGUMENTS];
  for (int variant = 0; variant < VARIANTS; variant++) {
    for (size_t i = 0; i < count; i++) arguments[i] = sample(c, types[i], variant);
    struct cel_value value = function->function(&c->run, arguments, count);
    if (is_no_overload(&value)) continue;
    outcome->taken = true;
    if (value.type == CEL_ERROR) continue;
    if (outcome->result == -1) outcome->result = (int)value.type;
    else if (outcome->result != (int)value.type) outcome->result = DYN;
  }
}

// --- calls ----------------------------------------------------------------------------------------------

static _Noreturn void no_overload(struct checker *c, const struct cel_node *node, const char *name, const int *types,
                                  size_t count) {
  lua_State *L = c->tree->L;
  bool member = node->kind == CEL_CALL && node->function->style != 'g' && strchr(node->function->name, '_') == NULL;
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  luaL_addstring(&text, "found no matching overload for '");
  luaL_addstring(&text, name);
  luaL_addstring(&text, "' applied to '");
  if (member) luaL_addstring(&text, name_of(types[0])), luaL_addchar(&text, '.');
  luaL_addchar(&text, '(');
  for (size_t i = member; i < count; i++) {
    if (i > (size_t)member) luaL_addstring(&text, ", ");
    luaL_addstring(&text, name_of(types[i]));
  }
  luaL_addstring(&text, ")'");
  luaL_pushresult(&text);
  cel_raise(L, node->offset, lua_tostring(L, -1));
}

// What their results are depends on the items that a value holds.
static bool gives_items(const char *name) {
  static const char *const names[] = {"sum", "min", "max", "value", "orValue", "first", "last"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i], name) == 0) return true;
  return false;
}

static bool is_equality(const char *name) {
  return strcmp(name, "_==_") == 0 || strcmp(name, "_!=_") == 0;
}

static bool is_null_or_dyn(int type) {
  return type == CEL_NULL || type == DYN;
}

static int check_equality(struct checker *c, const struct cel_node *node, const int *types) {
  if (types[0] != types[1] && !is_null_or_dyn(types[0]) && !is_null_or_dyn(types[1]))
    no_overload(c, node, node->function->name, types, 2);
  return CEL_BOOL;
}

// Calls with one argument of unknown type are tried with each; with more of them nothing is known.
static int check_call(struct checker *c, const struct cel_node *node) {
  int types[MOST_ARGUMENTS] = {0};
  size_t unknown = 0, at = 0;
  if (node->count > MOST_ARGUMENTS) return DYN;
  for (size_t i = 0; i < node->count; i++) {
    types[i] = check(c, node->children[i]);
    if (types[i] == DYN) unknown++, at = i;
  }
  const char *name = node->function->name;
  if (is_equality(name)) return check_equality(c, node, types);
  if (unknown > 1 || strcmp(name, "dyn") == 0 || strcmp(name, "parseJson") == 0) return DYN;
  struct outcome outcome = {.result = -1};
  for (int type = CEL_NULL; unknown && type < TYPES; type++) {
    types[at] = type;
    try_samples(c, node->function, types, node->count, &outcome);
  }
  if (unknown) types[at] = DYN;
  else try_samples(c, node->function, types, node->count, &outcome);
  if (!outcome.taken) no_overload(c, node, name, types, node->count);
  return outcome.result == -1 || gives_items(name) ? DYN : outcome.result;
}

// --- everything else ----------------------------------------------------------------------------------------

static void must_be_bool(struct checker *c, const struct cel_node *node, const char *what) {
  int type = check(c, node);
  if (type == CEL_BOOL || type == DYN) return;
  cel_raise(c->tree->L, node->offset,
            lua_pushfstring(c->tree->L, "found no matching overload for '%s': expected type 'bool' but found '%s'",
                            what, name_of(type)));
}

static int check_select(struct checker *c, const struct cel_node *node) {
  int type = check(c, node->children[0]);
  if (type != CEL_MAP && type != CEL_OPTIONAL && !is_null_or_dyn(type))
    cel_raise(c->tree->L, node->offset,
              lua_pushfstring(c->tree->L, "type '%s' does not support field selection", name_of(type)));
  if (node->kind == CEL_HAS) return CEL_BOOL;
  return node->optional || type == CEL_OPTIONAL ? CEL_OPTIONAL : DYN;
}

static int check_index(struct checker *c, const struct cel_node *node) {
  int types[2] = {check(c, node->children[0]), check(c, node->children[1])};
  bool numeric = types[1] == CEL_INT || types[1] == CEL_UINT || types[1] == CEL_DOUBLE || types[1] == DYN;
  bool indexed = types[0] == CEL_MAP || types[0] == CEL_OPTIONAL || types[0] == DYN;
  if (!indexed && !(types[0] == CEL_LIST && numeric)) no_overload(c, node, "_[_]", types, 2);
  return node->optional || types[0] == CEL_OPTIONAL ? CEL_OPTIONAL : DYN;
}

static int check_items(struct checker *c, const struct cel_node *node, int type) {
  for (size_t i = 0; i < node->count; i++)
    for (size_t j = 0; j < node->children[i]->count; j++) check(c, node->children[i]->children[j]);
  return type;
}

static int check_choice(struct checker *c, const struct cel_node *node) {
  must_be_bool(c, node->children[0], "_?_:_");
  int yes = check(c, node->children[1]), no = check(c, node->children[2]);
  return yes == no ? yes : DYN;
}

static int check_logic(struct checker *c, const struct cel_node *node) {
  for (size_t i = 0; i < node->count; i++)
    must_be_bool(c, node->children[i], node->kind == CEL_AND ? "_&&_" : "_||_");
  return CEL_BOOL;
}

static int check_loop(struct checker *c, const struct cel_node *node) {
  int range = check(c, node->children[0]);
  if (range != CEL_LIST && range != CEL_MAP && range != DYN)
    cel_raise(c->tree->L, node->offset,
              lua_pushfstring(c->tree->L, "expression of type '%s' cannot be range of a comprehension "
                                          "(must be list, map, or dynamic)", name_of(range)));
  bool tests = node->loop == CEL_ALL || node->loop == CEL_EXISTS || node->loop == CEL_EXISTS_ONE;
  if (tests || node->loop == CEL_FILTER || node->count == 3) must_be_bool(c, node->children[1], "_&&_");
  else check(c, node->children[1]);
  if (node->count == 3) check(c, node->children[2]);
  if (tests) return CEL_BOOL;
  return node->loop == CEL_MAP_MAP || node->loop == CEL_MAP_ENTRY ? CEL_MAP : CEL_LIST;
}

static int check(struct checker *c, const struct cel_node *node) {
  switch (node->kind) {
  case CEL_CONSTANT: return (int)node->value.type;
  case CEL_NAME: return DYN;
  case CEL_SELECT:
  case CEL_HAS: return check_select(c, node);
  case CEL_INDEX: return check_index(c, node);
  case CEL_CALL: return check_call(c, node);
  case CEL_MAKE_LIST: return check_items(c, node, CEL_LIST);
  case CEL_MAKE_MAP: return check_items(c, node, CEL_MAP);
  case CEL_CHOICE: return check_choice(c, node);
  case CEL_AND:
  case CEL_OR: return check_logic(c, node);
  case CEL_LOOP: return check_loop(c, node);
  default: check(c, node->children[0]); check(c, node->children[1]); return CEL_OPTIONAL;
  }
}

void cel_check(struct kf_tree *tree, const struct cel_node *node, const char *result) {
  struct checker c = {.run = {.tree = *tree, .limit = UINT64_MAX}, .tree = tree};
  int type = check(&c, node);
  if (strcmp(result, "any") != 0 && type != DYN && strcmp(name_of(type), result) != 0)
    cel_raise(tree->L, node->offset, lua_pushfstring(tree->L, "must evaluate to %s", result));
}
