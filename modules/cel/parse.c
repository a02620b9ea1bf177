// From text to nodes. Macros become nodes of their own; names that nobody declared are errors here.
#include "cel.h"

#include "base/regex.h"
#include "base/utf8.h"
#include "error.h"

#include <ctype.h>
#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 200, LARGEST = 100000 };

enum token {
  T_END, T_WORD, T_INT, T_UINT, T_DOUBLE, T_STRING, T_BYTES, T_SYMBOL
};
struct parser {
  struct kf_tree *tree;
  const struct cel_names *names;
  const char *text, *at, *end;
  enum token token;
  const char *start;  // of the token
  size_t length;
  struct cel_value value;  // of a literal
  bool quoted;             // a word in backticks
  int depth;
  struct local *locals;
};
struct local {
  struct local *outer;
  const char *name;
  size_t length;
};

_Noreturn void cel_raise(lua_State *L, size_t offset, const char *message) {
  luaL_checkstack(L, 8, NULL);
  kf_error(L, "CEL", "%s", message);
  lua_pushinteger(L, (lua_Integer)offset);
  lua_setfield(L, -2, "offset");
  lua_error(L);
  abort();  // not reached
}

static _Noreturn void fail_at(struct parser *p, const char *at, const char *message) {
  cel_raise(p->tree->L, (size_t)(at - p->text), message);
}

static const char *piece(struct parser *p, const char *text, size_t length) {
  luaL_checkstack(p->tree->L, 20, "CEL");
  return lua_pushlstring(p->tree->L, text, length);
}

static _Noreturn void fail_token(struct parser *p) {
  if (p->token == T_END) fail_at(p, p->start, "Syntax error: the expression ends too early");
  const char *word = piece(p, p->start, p->length);
  fail_at(p, p->start, lua_pushfstring(p->tree->L, "Syntax error: mismatched input '%s'", word));
}

// --- tokens -------------------------------------------------------------------------------------------

static void skip_blanks(struct parser *p) {
  while (p->at < p->end) {
    if (isspace((unsigned char)*p->at)) {
      p->at++;
    } else if (p->end - p->at >= 2 && p->at[0] == '/' && p->at[1] == '/') {
      while (p->at < p->end && *p->at != '\n') p->at++;
    } else {
      return;
    }
  }
}

static bool is_letter(int c) {
  return c == '_' || isalpha(c);
}

static void finish_number(struct parser *p, const char *digits, int base) {
  char *copy = kf_tree_alloc(p->tree, p->length + 1), *end;
  size_t length = (size_t)(p->at - digits);
  memcpy(copy, digits, length);
  copy[length] = '\0';
  errno = 0;
  unsigned long long value = strtoull(copy, &end, base);
  bool is_uint = p->at < p->end && (*p->at == 'u' || *p->at == 'U');
  if (is_uint) p->at++;
  if (*end || end == copy || errno) fail_at(p, p->start, is_uint ? "invalid uint literal" : "invalid int literal");
  p->token = is_uint ? T_UINT : T_INT;
  p->value = cel_uint(value);
}

static void read_number(struct parser *p) {
  const char *start = p->at;
  if (p->end - p->at > 2 && p->at[0] == '0' && (p->at[1] == 'x' || p->at[1] == 'X')) {
    p->at += 2;
    while (p->at < p->end && isxdigit((unsigned char)*p->at)) p->at++;
    p->length = (size_t)(p->at - start);
    finish_number(p, start + 2, 16);
    return;
  }
  bool real = false;
  while (p->at < p->end && isdigit((unsigned char)*p->at)) p->at++;
  if (p->end - p->at > 1 && *p->at == '.' && isdigit((unsigned char)p->at[1])) {
    real = true;
    p->at++;
    while (p->at < p->end && isdigit((unsigned char)*p->at)) p->at++;
  }
  if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
    const char *exponent = p->at + 1;
    if (exponent < p->end && (*exponent == '+' || *exponent == '-')) exponent++;
    if (exponent < p->end && isdigit((unsigned char)*exponent)) {
      real = true;
      while (exponent < p->end && isdigit((unsigned char)*exponent)) exponent++;
      p->at = exponent;
    }
  }
  p->length = (size_t)(p->at - start);
  if (!real) {
    finish_number(p, start, 10);
    return;
  }
  p->token = T_DOUBLE;
  p->value = cel_double(strtod(piece(p, start, p->length), NULL));
  if (isinf(p->value.number)) fail_at(p, start, "invalid double literal");
  lua_pop(p->tree->L, 1);
}

static int hex_digit(char c) {
  return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

// The code that an escape of `digits` digits names.
static uint32_t read_code(struct parser *p, const char *at, const char *end, int digits, int base) {
  uint32_t code = 0;
  if (end - at < digits) fail_at(p, at, "Syntax error: an escape is cut off");
  for (int i = 0; i < digits; i++) {
    int digit = hex_digit(at[i]);
    if (digit < 0 || digit >= base) fail_at(p, at, "Syntax error: an escape has a wrong digit");
    code = code * (uint32_t)base + (uint32_t)digit;
  }
  return code;
}

// Writes what the escape at `at` (behind the backslash) means; returns its length.
static int unescape(struct parser *p, const char *at, const char *end, bool bytes, char *out, size_t *written) {
  static const char names[] = "abfnrtv\\?\"'`", values[] = "\a\b\f\n\r\t\v\\?\"'`";
  const char *name = at < end && *at ? strchr(names, *at) : NULL;
  if (name) {
    out[(*written)++] = values[name - names];
    return 1;
  }
  int digits = 0, base = 16;
  if (at < end && (*at == 'x' || *at == 'X')) digits = 2;
  else if (at < end && *at == 'u' && !bytes) digits = 4;
  else if (at < end && *at == 'U' && !bytes) digits = 8;
  else if (at < end && *at >= '0' && *at <= '3') digits = 3, base = 8;
  else fail_at(p, at, "Syntax error: unknown escape");
  uint32_t code = read_code(p, at + (base == 16), end, digits, base);
  if (bytes) out[(*written)++] = (char)code;
  else if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) fail_at(p, at, "Syntax error: no Unicode character");
  else *written += kf_utf8_encode(out + *written, code);
  return digits + (base == 16);
}

static void read_text(struct parser *p, bool raw, bool bytes) {
  char quote = *p->at;
  size_t run = p->end - p->at >= 3 && p->at[1] == quote && p->at[2] == quote ? 3 : 1, written = 0;
  const char *open = p->at;
  p->at += run;
  const char *at = p->at;
  for (;; at++) {
    if (at >= p->end || (run == 1 && (*at == '\n' || *at == '\r'))) fail_at(p, open, "Syntax error: a text does not end");
    if (*at == '\\' && !raw) at++;
    else if (*at == quote && (run == 1 || (p->end - at >= 3 && at[1] == quote && at[2] == quote))) break;
  }
  char *out = kf_tree_alloc(p->tree, (size_t)(at - p->at) * 2 + 4);
  for (const char *c = p->at; c < at; c++) {
    if (*c == '\\' && !raw) c += unescape(p, c + 1, at, bytes, out, &written);
    else if (*c == '\r') {
      out[written++] = '\n';
      if (c + 1 < at && c[1] == '\n') c++;
    } else out[written++] = *c;
  }
  p->at = at + run;
  p->token = bytes ? T_BYTES : T_STRING;
  p->value = cel_string(out, written);
  if (bytes) p->value.type = CEL_BYTES;
  p->length = (size_t)(p->at - p->start);
}

// r"…", b'…', rb"…" in either case: how long the letters before the quote are; 0 when it is no text.
static size_t text_prefix(const struct parser *p, bool *raw, bool *bytes) {
  size_t i = 0;
  *raw = *bytes = false;
  for (; i < 2 && p->at + i < p->end; i++) {
    char c = (char)tolower((unsigned char)p->at[i]);
    if (c == 'r' && !*raw) *raw = true;
    else if (c == 'b' && !*bytes) *bytes = true;
    else break;
  }
  bool is_text = p->at + i < p->end && (p->at[i] == '"' || p->at[i] == '\'');
  return is_text ? i + 1 : 0;
}

static void read_quoted_word(struct parser *p) {
  const char *close = memchr(p->at + 1, '`', (size_t)(p->end - p->at - 1));
  if (!close) fail_at(p, p->at, "Syntax error: a quoted name does not end");
  p->start = p->at + 1;
  p->length = (size_t)(close - p->start);
  p->at = close + 1;
  p->token = T_WORD;
  p->quoted = true;
}

static void read_symbol(struct parser *p) {
  static const char *const doubles[] = {"&&", "||", "==", "!=", "<=", ">="};
  p->token = T_SYMBOL;
  p->length = 1;
  for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
    if (p->end - p->at > 1 && memcmp(p->at, doubles[i], 2) == 0) p->length = 2;
  if (p->length == 1 && !strchr("+-*/%!<>?:.,()[]{}", *p->at)) {
    p->length = kf_utf8_length(p->at, (size_t)(p->end - p->at));
    if (p->length == 0) p->length = 1;
    const char *character = piece(p, p->at, p->length);
    fail_at(p, p->at, lua_pushfstring(p->tree->L, "Syntax error: token recognition error at: '%s'", character));
  }
  p->at += p->length;
}

static void next(struct parser *p) {
  bool raw, bytes;
  skip_blanks(p);
  p->start = p->at;
  p->length = 0;
  p->quoted = false;
  if (p->at == p->end) {
    p->token = T_END;
    return;
  }
  size_t prefix = text_prefix(p, &raw, &bytes);
  if (prefix > 0) {
    p->at += prefix - 1;
    read_text(p, raw, bytes);
  } else if (isdigit((unsigned char)*p->at) ||
             (*p->at == '.' && p->end - p->at > 1 && isdigit((unsigned char)p->at[1]))) {
    read_number(p);
  } else if (is_letter((unsigned char)*p->at)) {
    while (p->at < p->end && (is_letter((unsigned char)*p->at) || isdigit((unsigned char)*p->at))) p->at++;
    p->length = (size_t)(p->at - p->start);
    p->token = T_WORD;
  } else if (*p->at == '`') {
    read_quoted_word(p);
  } else {
    read_symbol(p);
  }
}

static bool is(const struct parser *p, const char *symbol) {
  bool kind = p->token == T_SYMBOL || (p->token == T_WORD && !p->quoted);
  return kind && strlen(symbol) == p->length && memcmp(p->start, symbol, p->length) == 0;
}

static bool accept(struct parser *p, const char *symbol) {
  if (!is(p, symbol)) return false;
  next(p);
  return true;
}

static void expect(struct parser *p, const char *symbol) {
  if (!accept(p, symbol)) fail_token(p);
}

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
      fail_at(p, at, lua_pushfstring(p->tree->L, "Syntax error: reserved identifier: %s", words[i]));
}

static _Noreturn void fail_undeclared(struct parser *p, const char *at, const char *name, size_t length,
                                      const char *what) {
  const char *text = piece(p, name, length);
  fail_at(p, at, lua_pushfstring(p->tree->L, "undeclared reference to '%s' (%s)", text, what));
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
  if (p->token != T_WORD) fail_at(p, p->start, "argument must be a simple name");
  check_reserved(p, p->start, p->length);
  char *copy = kf_tree_alloc(p->tree, p->length + 1);
  memcpy(copy, p->start, p->length);
  copy[p->length] = '\0';
  *name = copy;
  *length = p->length;
  next(p);
  if (!is(p, ",")) fail_at(p, p->start, "argument must be a simple name");
  next(p);
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
  next(&look);
  if (!is(&look, ",")) return false;
  next(&look);
  if (look.token != T_WORD) return false;
  next(&look);
  return is(&look, ",");
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
      fail_at(p, at, "the two variables of a loop need two names");
  }
  node->text = first.name;
  node->length = first.length;
  node->second = two ? second.name : NULL;
  p->locals = two ? &second : &first;
  int count = 0;
  do {
    add(p, node, parse_expression(p));
    count++;
  } while (accept(p, ","));
  p->locals = first.outer;
  expect(p, ")");
  if (count < macro->least || count > macro->most) fail_at(p, at, "a macro has too many arguments");
  return node;
}

// has(a.b): the ( is behind us.
static struct cel_node *parse_has(struct parser *p, const char *at) {
  struct cel_node *node = parse_expression(p);
  expect(p, ")");
  if (node->kind != CEL_SELECT) fail_at(p, at, "invalid argument to has() macro");
  node->kind = CEL_HAS;
  return node;
}

// --- calls --------------------------------------------------------------------------------------------

static void parse_arguments(struct parser *p, struct cel_node *node) {
  if (accept(p, ")")) return;
  do add(p, node, parse_expression(p));
  while (accept(p, ","));
  expect(p, ")");
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
    const char *name = piece(p, node->text, node->length);
    fail_at(p, p->text + node->offset,
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
  while (!accept(p, "]")) {
    bool optional = accept(p, "?");
    struct cel_node *item = add(p, node, new_node(p, CEL_MAKE_LIST, p->start));
    item->optional = optional;
    add(p, item, parse_expression(p));
    if (accept(p, "]")) break;
    expect(p, ",");
  }
  return node;
}

static struct cel_node *parse_map(struct parser *p, const char *at) {
  struct cel_node *node = new_node(p, CEL_MAKE_MAP, at);
  while (!accept(p, "}")) {
    bool optional = accept(p, "?");
    struct cel_node *entry = add(p, node, new_node(p, CEL_MAKE_MAP, p->start));
    entry->optional = optional;
    add(p, entry, parse_expression(p));
    expect(p, ":");
    add(p, entry, parse_expression(p));
    if (accept(p, "}")) break;
    expect(p, ",");
  }
  return node;
}

// A number or a text; `negative` for a minus sign before it.
static struct cel_node *parse_literal(struct parser *p, bool negative, const char *at) {
  struct cel_value value = p->value;
  if (p->token == T_INT) {
    if (value.natural > (uint64_t)INT64_MAX + negative) fail_at(p, at, "invalid int literal");
    value = cel_int(negative ? (int64_t)(0 - value.natural) : (int64_t)value.natural);
  } else if (p->token == T_DOUBLE && negative) {
    value.number = -value.number;
  }
  next(p);
  return constant(p, at, value);
}

static struct cel_node *parse_word(struct parser *p, bool rooted) {
  const char *at = p->start;
  size_t length = p->length;
  bool quoted = p->quoted;
  if (!quoted && !rooted && is(p, "true")) return next(p), constant(p, at, cel_bool(true));
  if (!quoted && !rooted && is(p, "false")) return next(p), constant(p, at, cel_bool(false));
  if (!quoted && !rooted && is(p, "null")) return next(p), constant(p, at, (struct cel_value){.type = CEL_NULL});
  if (quoted) fail_at(p, at, "Syntax error: a quoted name stands only behind a dot");
  check_reserved(p, at, length);
  next(p);
  if (accept(p, "(")) return parse_global_call(p, at, length);
  struct cel_node *node = new_node(p, CEL_NAME, at);
  node->text = at;
  node->length = length;
  return node;
}

static struct cel_node *parse_primary(struct parser *p) {
  const char *at = p->start;
  if (p->token == T_INT || p->token == T_UINT || p->token == T_DOUBLE || p->token == T_STRING || p->token == T_BYTES)
    return parse_literal(p, false, at);
  if (accept(p, "(")) {
    struct cel_node *node = parse_expression(p);
    expect(p, ")");
    return node;
  }
  if (accept(p, "[")) return parse_list(p, at);
  if (accept(p, "{")) return parse_map(p, at);
  bool rooted = accept(p, ".");
  if (p->token != T_WORD || is(p, "in")) fail_token(p);
  return parse_word(p, rooted);
}

// --- members, operators ---------------------------------------------------------------------------------

static struct cel_node *parse_select(struct parser *p, struct cel_node *target) {
  bool optional = accept(p, "?");
  if (p->token != T_WORD) fail_token(p);
  const char *name = p->start;
  size_t length = p->length;
  bool quoted = p->quoted;
  if (!quoted && (is(p, "in") || is(p, "true") || is(p, "false") || is(p, "null"))) fail_token(p);
  next(p);
  if (!optional && !quoted && accept(p, "(")) return parse_member_call(p, target, name, length);
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
  node->optional = accept(p, "?");
  add(p, node, settled(p, target));
  add(p, node, parse_expression(p));
  expect(p, "]");
  return node;
}

static struct cel_node *parse_member(struct parser *p) {
  struct cel_node *node = parse_primary(p);
  int steps = 0;
  for (;;) {
    const char *at = p->start;
    if (++steps > DEEPEST) fail_at(p, at, "expression is nested too deep");
    if (accept(p, ".")) node = parse_select(p, node);
    else if (accept(p, "[")) node = parse_index(p, node, at);
    else break;
  }
  if (is(p, "{") && (node->kind == CEL_NAME || node->kind == CEL_SELECT))
    fail_at(p, p->start, "messages cannot be made here");
  return settled(p, node);
}

static struct cel_node *parse_unary(struct parser *p) {
  const char *at = p->start;
  if (++p->depth > DEEPEST) fail_at(p, at, "expression is nested too deep");
  struct cel_node *node;
  if (accept(p, "!")) {
    node = operation(p, at, "!_", parse_unary(p), NULL);
  } else if (accept(p, "-")) {
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
    if (!is(p, levels[level].symbols[i])) continue;
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
    if (++terms > DEEPEST) fail_at(p, at, "expression is nested too deep");
    next(p);
    node = operation(p, at, name, node, parse_level(p, level + 1));
  }
  return node;
}

// a && b && c is one node of many children, so that long ones nest no deeper.
static struct cel_node *parse_logic(struct parser *p, enum cel_kind kind) {
  const char *at = p->start;
  struct cel_node *first = kind == CEL_OR ? parse_logic(p, CEL_AND) : parse_level(p, 0), *node = NULL;
  while (accept(p, kind == CEL_OR ? "||" : "&&")) {
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
  if (++p->depth > DEEPEST) fail_at(p, at, "expression is nested too deep");
  int top = lua_gettop(p->tree->L);
  struct cel_node *condition = parse_logic(p, CEL_OR);
  if (accept(p, "?")) {
    struct cel_node *node = new_node(p, CEL_CHOICE, at);
    add(p, node, condition);
    add(p, node, parse_logic(p, CEL_OR));
    expect(p, ":");
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
  fail_at(p, p->text + pattern->offset, lua_pushfstring(p->tree->L, "invalid matches argument: %s", error.problem));
}

struct cel_node *cel_parse(struct kf_tree *tree, const char *text, size_t length, const struct cel_names *names) {
  struct parser p = {.tree = tree, .names = names, .text = text, .at = text, .end = text + length};
  if (length > LARGEST) fail_at(&p, text, "expression code point size exceeds limit");
  size_t bad = kf_utf8_check(text, length);
  if (bad < length) fail_at(&p, text + bad, "malformed UTF-8");
  next(&p);
  struct cel_node *node = parse_expression(&p);
  if (p.token != T_END) fail_token(&p);
  return node;
}
