// From text to nodes. Macros become nodes of their own; names that nobody declared are errors here.
#include "parse.h"

#include "base/regex.h"
#include "base/utf8.h"

#include <lauxlib.h>
#include <string.h>

enum { DEEPEST = 200, LARGEST = 100000 };

struct local {
  struct local *outer;
  const char *name;
  size_t length;
};

// --- nodes --------------------------------------------------------------------------------------------

static struct cel_node *new_node(struct parser *p, enum cel_kind kind, const char *at) {
  struct cel_node *node = kf_tree_alloc(p->tree, sizeof *node);
  *node = (struct cel_node){.kind = kind, .offset = (uint32_t)(at - p->text)};
  return node;
}

static struct cel_node *add(struct parser *p, struct cel_node *node, struct cel_node *child) {
  if (node->count == node->capacity) {
    size_t capacity = node->capacity * 2 + 2;
    struct cel_node **children = kf_tree_alloc(p->tree, capacity * sizeof *children);
    if (node->count > 0) memcpy(children, node->children, node->count * sizeof *children);
    node->children = children;
    node->capacity = capacity;
  }
  return node->children[node->count++] = child;
}

static struct cel_node *constant(struct parser *p, const char *at, struct cel_value value) {
  struct cel_node *node = new_node(p, CEL_CONSTANT, at);
  node->value = value;
  return node;
}

static struct cel_node *operation(struct parser *p, const char *at, const char *name, struct cel_node *a,
                                  struct cel_node *b) {
  bool known;
  struct cel_node *node = new_node(p, CEL_CALL, at);
  node->text = name;
  node->length = strlen(name);
  node->function = cel_find_function(name, node->length, false, b ? 2 : 1, &known);
  add(p, node, a);
  if (b) add(p, node, b);
  return node;
}

// --- names --------------------------------------------------------------------------------------------

static bool in_list(const struct kf_node *list, const char *text, size_t length) {
  for (size_t i = 0; list && i < list->count; i++) {
    const struct kf_node *item = list->items[i];
    if (item->kind == KF_TEXT && item->count == length && memcmp(item->text, text, length) == 0) return true;
  }
  return false;
}

static bool is_local(const struct parser *p, const char *name, size_t length) {
  for (const struct local *local = p->locals; local; local = local->outer)
    if (local->length == length && memcmp(local->name, name, length) == 0) return true;
  return false;
}

static bool is_variable(const struct parser *p, const char *name, size_t length) {
  return is_local(p, name, length) || !p->names->variables || in_list(p->names->variables, name, length);
}

static const char *type_of_name(const char *name, size_t length) {
  static const char *const names[] = {"int",  "uint", "double", "bool", "string", "bytes", "list", "map", "null_type",
                                      "type", "google.protobuf.Timestamp", "google.protobuf.Duration", "optional_type"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0) return names[i];
  return NULL;
}

static void check_reserved(struct parser *p, const char *at, size_t length) {
  static const char *const words[] = {"as",    "break", "const",   "continue", "else",      "for",  "function", "if",
                                      "import", "let",   "loop",    "package",  "namespace", "return", "var", "void",
                                      "while", "in",    "true",    "false",    "null"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strlen(words[i]) == length && memcmp(words[i], at, length) == 0)
      cel_fail_at(p, at, lua_pushfstring(p->tree->L, "Syntax error: reserved identifier: %s", words[i]));
}

static _Noreturn void fail_undeclared(struct parser *p, const char *at, const char *name, size_t length,
                                      const char *what) {
  const char *text = cel_piece(p, name, length);
  cel_fail_at(p, at, lua_pushfstring(p->tree->L, "undeclared reference to '%s' (%s)", text, what));
}

// a.b.c of plain names as one text; NULL when the node is something else.
static const char *dotted(struct parser *p, const struct cel_node *node, size_t *length) {
  if (node->kind == CEL_NAME) return *length = node->length, node->text;
  if (node->kind != CEL_SELECT || node->optional) return NULL;
  size_t before;
  const char *left = dotted(p, node->children[0], &before);
  if (!left) return NULL;
  char *text = kf_tree_alloc(p->tree, before + 1 + node->length);
  memcpy(text, left, before);
  text[before] = '.';
  memcpy(text + before + 1, node->text, node->length);
  *length = before + 1 + node->length;
  return text;
}

// Makes the longest beginning of a.b.c that is declared as one variable a name of its own.
static bool join_names(struct parser *p, struct cel_node *node) {
  size_t length;
  if (node->kind != CEL_SELECT) return false;
  const char *name = dotted(p, node, &length);
  if (!name || !in_list(p->names->variables, name, length)) return join_names(p, node->children[0]);
  *node = (struct cel_node){.kind = CEL_NAME, .offset = node->offset, .text = name, .length = length};
  return true;
}

// Names that nothing gives a meaning are errors; names of types become values.
static void settle(struct parser *p, struct cel_node *node) {
  size_t length;
  const struct cel_node *first = node;
  while (first->kind == CEL_SELECT) first = first->children[0];
  if (first->kind == CEL_NAME && !is_local(p, first->text, first->length) && join_names(p, node)) return;
  const char *name = node->kind == CEL_NAME || node->kind == CEL_SELECT ? dotted(p, node, &length) : NULL;
  if (name) {
    const struct cel_node *root = node;
    while (root->kind == CEL_SELECT) root = root->children[0];
    bool local = is_local(p, root->text, root->length);
    bool declared = p->names->variables && in_list(p->names->variables, root->text, root->length);
    const char *type = local || declared ? NULL : type_of_name(name, length);
    if (type) {
      *node = (struct cel_node){.kind = CEL_CONSTANT, .offset = node->offset, .value = cel_type_named(type)};
    } else if (!is_variable(p, root->text, root->length)) {
      fail_undeclared(p, p->text + root->offset, root->text, root->length, "no variable of that name");
    }
  } else if (node->kind == CEL_SELECT || node->kind == CEL_HAS) {
    settle(p, node->children[0]);
  }
}

static struct cel_node *settled(struct parser *p, struct cel_node *node) {
  settle(p, node);
  return node;
}

// --- macros -------------------------------------------------------------------------------------------

static struct cel_node *parse_expression(struct parser *p);

// The name of a loop's variable.
static void read_variable(struct parser *p, const char **name, size_t *length) {
  if (p->token != T_WORD) cel_fail_at(p, p->start, "argument must be a simple name");
  check_reserved(p, p->start, p->length);
  char *copy = kf_tree_alloc(p->tree, p->length + 1);
  memcpy(copy, p->start, p->length);
  copy[p->length] = '\0';
  *name = copy;
  *length = p->length;
  cel_next(p);
  if (!cel_is(p, ",")) cel_fail_at(p, p->start, "argument must be a simple name");
  cel_next(p);
}

static const struct macro {
  const char *name;
  enum cel_kind kind;
  enum cel_loop loop;
  int least, most;   // expressions after the variables
  int variables;     // 1, 2, or 3 for either
} macros[] = {
    {"all", CEL_LOOP, CEL_ALL, 1, 1, 3},           {"exists", CEL_LOOP, CEL_EXISTS, 1, 1, 3},
    {"exists_one", CEL_LOOP, CEL_EXISTS_ONE, 1, 1, 3}, {"existsOne", CEL_LOOP, CEL_EXISTS_ONE, 1, 1, 3},
    {"map", CEL_LOOP, CEL_MAP_EACH, 1, 2, 1},      {"filter", CEL_LOOP, CEL_FILTER, 1, 1, 1},
    {"transformList", CEL_LOOP, CEL_MAP_EACH, 1, 2, 2}, {"transformMap", CEL_LOOP, CEL_MAP_MAP, 1, 2, 2},
    {"transformMapEntry", CEL_LOOP, CEL_MAP_ENTRY, 1, 2, 2}, {"optMap", CEL_OPT_MAP, CEL_ALL, 1, 1, 1},
    {"optFlatMap", CEL_OPT_MAP, CEL_EXISTS, 1, 1, 1}, {"sortBy", CEL_LOOP, CEL_SORT_BY, 1, 1, 1},
};

static const struct macro *find_macro(const char *name, size_t length) {
  for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
    if (strlen(macros[i].name) == length && memcmp(macros[i].name, name, length) == 0) return &macros[i];
  return NULL;
}

// Whether after this name (the token) comes a comma and then another simple name and a comma.
static bool has_second_variable(struct parser *p) {
  struct parser look = *p;
  if (look.token != T_WORD) return false;
  cel_next(&look);
  if (!cel_is(&look, ",")) return false;
  cel_next(&look);
  if (look.token != T_WORD) return false;
  cel_next(&look);
  return cel_is(&look, ",");
}

// target.all(x, …): the ( is behind us.
static struct cel_node *parse_macro(struct parser *p, const struct macro *macro, struct cel_node *target,
                                    const char *at) {
  struct cel_node *node = new_node(p, macro->kind, at);
  struct local first = {.outer = p->locals}, second = {.outer = &first};
  node->loop = macro->loop;
  add(p, node, settled(p, target));
  bool two = macro->variables == 2 || (macro->variables == 3 && has_second_variable(p));
  read_variable(p, &first.name, &first.length);
  if (two) {
    read_variable(p, &second.name, &second.length);
    if (second.length == first.length && memcmp(second.name, first.name, first.length) == 0)
      cel_fail_at(p, at, "the two variables of a loop need two names");
  }
  node->text = first.name;
  node->length = first.length;
  node->second = two ? second.name : NULL;
  p->locals = two ? &second : &first;
  int count = 0;
  do {
    add(p, node, parse_expression(p));
    count++;
  } while (cel_accept(p, ","));
  p->locals = first.outer;
  cel_expect(p, ")");
  if (count < macro->least || count > macro->most) cel_fail_at(p, at, "a macro has too many arguments");
  return node;
}

// has(a.b): the ( is behind us.
static struct cel_node *parse_has(struct parser *p, const char *at) {
  struct cel_node *node = parse_expression(p);
  cel_expect(p, ")");
  if (node->kind != CEL_SELECT) cel_fail_at(p, at, "invalid argument to has() macro");
  node->kind = CEL_HAS;
  return node;
}

// --- calls --------------------------------------------------------------------------------------------

static void parse_arguments(struct parser *p, struct cel_node *node) {
  if (cel_accept(p, ")")) return;
  do add(p, node, parse_expression(p));
  while (cel_accept(p, ","));
  cel_expect(p, ")");
}

static void check_regex(struct parser *p, const struct cel_node *node);

static void find_function(struct parser *p, struct cel_node *node, bool member) {
  bool known = false;
  node->function = cel_find_function(node->text, node->length, member, node->count, &known);
  for (const struct cel_entry *entry = cel_extra_functions; !node->function && !member && entry->name; entry++) {
    bool same = strlen(entry->name) == node->length && memcmp(entry->name, node->text, node->length) == 0;
    if (same && in_list(p->names->functions, node->text, node->length)) node->function = entry, known = true;
  }
  if (!node->function && known) {
    const char *name = cel_piece(p, node->text, node->length);
    cel_fail_at(p, p->text + node->offset,
            lua_pushfstring(p->tree->L, "found no matching overload for '%s' with %d arguments", name,
                            (int)node->count - member));
  }
  if (!node->function)
    fail_undeclared(p, p->text + node->offset, node->text, node->length, "no function of that name");
  check_regex(p, node);
}

static struct cel_node *parse_member_call(struct parser *p, struct cel_node *target, const char *name, size_t length) {
  const char *at = name;
  size_t prefix_length;
  const struct macro *macro = find_macro(name, length);
  const char *prefix = dotted(p, target, &prefix_length);
  if (macro) return parse_macro(p, macro, target, at);
  struct cel_node *node = new_node(p, CEL_CALL, at);
  node->text = name;
  node->length = length;
  if (prefix && !is_local(p, prefix, prefix_length)) {
    // A function of a name with dots, such as sets.contains.
    bool known = false;
    char *full = kf_tree_alloc(p->tree, prefix_length + 1 + length);
    memcpy(full, prefix, prefix_length);
    full[prefix_length] = '.';
    memcpy(full + prefix_length + 1, name, length);
    cel_find_function(full, prefix_length + 1 + length, false, 0, &known);
    if (known) {
      node->text = full;
      node->length = prefix_length + 1 + length;
      parse_arguments(p, node);
      find_function(p, node, false);
      return node;
    }
  }
  add(p, node, settled(p, target));
  parse_arguments(p, node);
  find_function(p, node, true);
  return node;
}

static struct cel_node *parse_global_call(struct parser *p, const char *name, size_t length) {
  if (length == 3 && memcmp(name, "has", 3) == 0) return parse_has(p, name);
  struct cel_node *node = new_node(p, CEL_CALL, name);
  node->text = name;
  node->length = length;
  parse_arguments(p, node);
  find_function(p, node, false);
  return node;
}

// --- literals -----------------------------------------------------------------------------------------

static struct cel_node *parse_list(struct parser *p, const char *at) {
  struct cel_node *node = new_node(p, CEL_MAKE_LIST, at);
  while (!cel_accept(p, "]")) {
    bool optional = cel_accept(p, "?");
    struct cel_node *item = add(p, node, new_node(p, CEL_MAKE_LIST, p->start));
    item->optional = optional;
    add(p, item, parse_expression(p));
    if (cel_accept(p, "]")) break;
    cel_expect(p, ",");
  }
  return node;
}

static struct cel_node *parse_map(struct parser *p, const char *at) {
  struct cel_node *node = new_node(p, CEL_MAKE_MAP, at);
  while (!cel_accept(p, "}")) {
    bool optional = cel_accept(p, "?");
    struct cel_node *entry = add(p, node, new_node(p, CEL_MAKE_MAP, p->start));
    entry->optional = optional;
    add(p, entry, parse_expression(p));
    cel_expect(p, ":");
    add(p, entry, parse_expression(p));
    if (cel_accept(p, "}")) break;
    cel_expect(p, ",");
  }
  return node;
}

// A number or a text; `negative` for a minus sign before it.
static struct cel_node *parse_literal(struct parser *p, bool negative, const char *at) {
  struct cel_value value = p->value;
  if (p->token == T_INT) {
    if (value.natural > (uint64_t)INT64_MAX + negative) cel_fail_at(p, at, "invalid int literal");
    value = cel_int(negative ? (int64_t)(0 - value.natural) : (int64_t)value.natural);
  } else if (p->token == T_DOUBLE && negative) {
    value.number = -value.number;
  }
  cel_next(p);
  return constant(p, at, value);
}

static struct cel_node *parse_word(struct parser *p, bool rooted) {
  const char *at = p->start;
  size_t length = p->length;
  bool quoted = p->quoted;
  if (!quoted && !rooted && cel_is(p, "true")) return cel_next(p), constant(p, at, cel_bool(true));
  if (!quoted && !rooted && cel_is(p, "false")) return cel_next(p), constant(p, at, cel_bool(false));
  if (!quoted && !rooted && cel_is(p, "null")) return cel_next(p), constant(p, at, (struct cel_value){.type = CEL_NULL});
  if (quoted) cel_fail_at(p, at, "Syntax error: a quoted name stands only behind a dot");
  check_reserved(p, at, length);
  cel_next(p);
  if (cel_accept(p, "(")) return parse_global_call(p, at, length);
  struct cel_node *node = new_node(p, CEL_NAME, at);
  node->text = at;
  node->length = length;
  return node;
}

static struct cel_node *parse_primary(struct parser *p) {
  const char *at = p->start;
  if (p->token == T_INT || p->token == T_UINT || p->token == T_DOUBLE || p->token == T_STRING || p->token == T_BYTES)
    return parse_literal(p, false, at);
  if (cel_accept(p, "(")) {
    struct cel_node *node = parse_expression(p);
    cel_expect(p, ")");
    return node;
  }
  if (cel_accept(p, "[")) return parse_list(p, at);
  if (cel_accept(p, "{")) return parse_map(p, at);
  bool rooted = cel_accept(p, ".");
  if (p->token != T_WORD || cel_is(p, "in")) cel_fail_token(p);
  return parse_word(p, rooted);
}

// --- members, operators ---------------------------------------------------------------------------------

static struct cel_node *parse_select(struct parser *p, struct cel_node *target) {
  bool optional = cel_accept(p, "?");
  if (p->token != T_WORD) cel_fail_token(p);
  const char *name = p->start;
  size_t length = p->length;
  bool quoted = p->quoted;
  if (!quoted && (cel_is(p, "in") || cel_is(p, "true") || cel_is(p, "false") || cel_is(p, "null"))) cel_fail_token(p);
  cel_next(p);
  if (!optional && !quoted && cel_accept(p, "(")) return parse_member_call(p, target, name, length);
  struct cel_node *node = new_node(p, CEL_SELECT, name);
  node->text = name;
  node->length = length;
  node->optional = optional;
  if (optional) settle(p, target);
  add(p, node, target);
  return node;
}

static struct cel_node *parse_index(struct parser *p, struct cel_node *target, const char *at) {
  struct cel_node *node = new_node(p, CEL_INDEX, at);
  node->optional = cel_accept(p, "?");
  add(p, node, settled(p, target));
  add(p, node, parse_expression(p));
  cel_expect(p, "]");
  return node;
}

static struct cel_node *parse_member(struct parser *p) {
  struct cel_node *node = parse_primary(p);
  int steps = 0;
  for (;;) {
    const char *at = p->start;
    if (++steps > DEEPEST) cel_fail_at(p, at, "expression is nested too deep");
    if (cel_accept(p, ".")) node = parse_select(p, node);
    else if (cel_accept(p, "[")) node = parse_index(p, node, at);
    else break;
  }
  if (cel_is(p, "{") && (node->kind == CEL_NAME || node->kind == CEL_SELECT))
    cel_fail_at(p, p->start, "messages cannot be made here");
  return settled(p, node);
}

static struct cel_node *parse_unary(struct parser *p) {
  const char *at = p->start;
  if (++p->depth > DEEPEST) cel_fail_at(p, at, "expression is nested too deep");
  struct cel_node *node;
  if (cel_accept(p, "!")) {
    node = operation(p, at, "!_", parse_unary(p), NULL);
  } else if (cel_accept(p, "-")) {
    bool number = p->token == T_INT || p->token == T_DOUBLE;
    const char *after = p->at;
    bool member = number && after < p->end && (*after == '.' || *after == '[');
    node = number && !member ? parse_literal(p, true, at) : operation(p, at, "-_", parse_unary(p), NULL);
  } else {
    node = parse_member(p);
  }
  p->depth--;
  return node;
}

static const struct level {
  const char *symbols[8];
} levels[] = {{{"<", "<=", ">=", ">", "==", "!=", "in"}}, {{"+", "-"}}, {{"*", "/", "%"}}};
enum { LEVELS = sizeof levels / sizeof *levels };

static const char *operator_name(const struct parser *p, size_t level) {
  static const char *const names[][2] = {{"<", "_<_"},   {"<=", "_<=_"}, {">=", "_>=_"}, {">", "_>_"}, {"==", "_==_"},
                                         {"!=", "_!=_"}, {"in", "_in_"}, {"+", "_+_"},   {"-", "_-_"}, {"*", "_*_"},
                                         {"/", "_/_"},   {"%", "_%_"}};
  for (size_t i = 0; levels[level].symbols[i]; i++) {
    if (!cel_is(p, levels[level].symbols[i])) continue;
    for (size_t j = 0; j < sizeof names / sizeof *names; j++)
      if (strcmp(names[j][0], levels[level].symbols[i]) == 0) return names[j][1];
  }
  return NULL;
}

static struct cel_node *parse_level(struct parser *p, size_t level) {
  if (level == LEVELS) return parse_unary(p);
  struct cel_node *node = parse_level(p, level + 1);
  int terms = 0;
  for (const char *name = operator_name(p, level); name; name = operator_name(p, level)) {
    const char *at = p->start;
    if (++terms > DEEPEST) cel_fail_at(p, at, "expression is nested too deep");
    cel_next(p);
    node = operation(p, at, name, node, parse_level(p, level + 1));
  }
  return node;
}

// a && b && c is one node of many children, so that long ones nest no deeper.
static struct cel_node *parse_logic(struct parser *p, enum cel_kind kind) {
  const char *at = p->start;
  struct cel_node *first = kind == CEL_OR ? parse_logic(p, CEL_AND) : parse_level(p, 0), *node = NULL;
  while (cel_accept(p, kind == CEL_OR ? "||" : "&&")) {
    if (!node) {
      node = new_node(p, kind, at);
      add(p, node, first);
    }
    add(p, node, kind == CEL_OR ? parse_logic(p, CEL_AND) : parse_level(p, 0));
  }
  return node ? node : first;
}

static struct cel_node *parse_expression(struct parser *p) {
  const char *at = p->start;
  if (++p->depth > DEEPEST) cel_fail_at(p, at, "expression is nested too deep");
  int top = lua_gettop(p->tree->L);
  struct cel_node *condition = parse_logic(p, CEL_OR);
  if (cel_accept(p, "?")) {
    struct cel_node *node = new_node(p, CEL_CHOICE, at);
    add(p, node, condition);
    add(p, node, parse_logic(p, CEL_OR));
    cel_expect(p, ":");
    add(p, node, parse_expression(p));
    condition = node;
  }
  lua_settop(p->tree->L, top);
  p->depth--;
  return condition;
}

// --- the whole ----------------------------------------------------------------------------------------


// A pattern that is written out must be one.
static void check_regex(struct parser *p, const struct cel_node *node) {
  bool takes_pattern = (node->length == 7 && memcmp(node->text, "matches", 7) == 0) ||
                       (node->length == 4 && memcmp(node->text, "find", 4) == 0);
  if (!takes_pattern || node->count < 2) return;
  const struct cel_node *pattern = node->children[1];
  if (pattern->kind != CEL_CONSTANT || pattern->value.type != CEL_STRING) return;
  struct kf_regex_error error;
  struct kf_regex *regex = kf_regex_compile(pattern->value.text, pattern->value.length, &error);
  if (regex) {
    kf_regex_free(regex);
    return;
  }
  if (!error.problem) luaL_error(p->tree->L, "not enough memory");
  cel_fail_at(p, p->text + pattern->offset, lua_pushfstring(p->tree->L, "invalid matches argument: %s", error.problem));
}

struct cel_node *cel_parse(struct kf_tree *tree, const char *text, size_t length, const struct cel_names *names) {
  struct parser p = {.tree = tree, .names = names, .text = text, .at = text, .end = text + length};
  if (length > LARGEST) cel_fail_at(&p, text, "expression code point size exceeds limit");
  size_t bad = kf_utf8_check(text, length);
  if (bad < length) cel_fail_at(&p, text + bad, "malformed UTF-8");
  cel_next(&p);
  struct cel_node *node = parse_expression(&p);
  if (p.token != T_END) cel_fail_token(&p);
  return node;
}
