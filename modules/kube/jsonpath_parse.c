#include "jsonpath.h"

#include "base/utf8.h"
#include "error.h"

#include <ctype.h>
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 50 };  // filters and unions in one another

struct parser {
  struct kf_tree *tree;
  const char *text;  // ends with \0
  size_t size, at, start;
  struct kf_path *root;
  int depth;
};

static _Noreturn void fail(struct parser *p, const char *message) {
  kf_fail(p->tree->L, "JSONPath", "%s", message);
  abort();  // not reached
}

static const char *piece(struct parser *p, const char *text, size_t length) {
  return lua_pushlstring(p->tree->L, text, length);
}

// --- nodes ------------------------------------------------------------------------------------------

static struct kf_path *new_path(struct parser *p, enum kf_path_kind kind) {
  struct kf_path *path = kf_tree_alloc(p->tree, sizeof *path);
  *path = (struct kf_path){.kind = kind};
  return path;
}

static struct kf_path *add(struct parser *p, struct kf_path *list, struct kf_path *child) {
  if (list->count == list->capacity) {
    size_t capacity = list->capacity * 2 + 4;
    struct kf_path **children = kf_tree_alloc(p->tree, capacity * sizeof *children);
    if (list->count > 0) memcpy(children, list->children, list->count * sizeof *children);
    list->children = children;
    list->capacity = capacity;
  }
  return list->children[list->count++] = child;
}

static struct kf_path *add_new(struct parser *p, struct kf_path *list, enum kf_path_kind kind, const char *text,
                               size_t length) {
  struct kf_path *path = add(p, list, new_path(p, kind));
  path->text = text;
  path->length = length;
  return path;
}

// --- characters -------------------------------------------------------------------------------------

enum { AT_END = -1 };

static int peek(const struct parser *p) {
  return p->at < p->size ? (unsigned char)p->text[p->at] : AT_END;
}

static int next(struct parser *p) {
  return p->at < p->size ? (unsigned char)p->text[p->at++] : AT_END;
}

static bool begins(const struct parser *p, const char *prefix) {
  size_t length = strlen(prefix);
  return p->size - p->at >= length && memcmp(p->text + p->at, prefix, length) == 0;
}

static void drop(struct parser *p) {
  p->start = p->at;
}

static bool is_terminator(int c) {
  return c == AT_END || c == ' ' || c == '\t' || c == '\r' || c == '\n' || (c > 0 && strchr(".,[]$@{}", c));
}

static bool is_word(int c) {
  return c == '_' || (c >= 0x80) || (c >= 0 && isalnum(c));
}

static bool is_digit(int c) {
  return c >= '0' && c <= '9';
}

static void parse_template(struct parser *p);

// The first action of {text}, for what stands inside filters and unions.
static struct kf_path *parse_action(struct parser *p, const char *text, size_t length) {
  struct parser inner = {.tree = p->tree, .depth = p->depth + 1, .size = length + 2};
  if (inner.depth > DEEPEST) fail(p, "nested too deep");
  char *copy = kf_tree_alloc(p->tree, length + 3);
  copy[0] = '{';
  memcpy(copy + 1, text, length);
  memcpy(copy + 1 + length, "}", 2);
  inner.text = copy;
  inner.root = new_path(p, KF_PATH_LIST);
  parse_template(&inner);
  return inner.root->count > 0 ? inner.root->children[0] : inner.root;
}

// --- quoted text ------------------------------------------------------------------------------------

static int hex(const char *at, size_t digits, const char *end, uint32_t *value) {
  if ((size_t)(end - at) < digits) return -1;
  for (size_t i = 0; i < digits; i++) {
    if (!isxdigit((unsigned char)at[i])) return -1;
    *value = *value * 16 + (uint32_t)(is_digit(at[i]) ? at[i] - '0' : tolower(at[i]) - 'a' + 10);
  }
  return 0;
}

// Writes what an escape (at points behind the backslash) means; returns its length, 0 when it is none.
static size_t unescape(const char *at, const char *end, char quote, char *out, size_t *written) {
  static const char names[] = "abfnrtv\\", values[] = "\a\b\f\n\r\t\v\\";
  uint32_t value = 0;
  size_t digits = 0;
  const char *name = at < end ? strchr(names, *at) : NULL;
  if (at == end || *at == '\0') return 0;
  if (name || *at == quote) {
    out[(*written)++] = name ? values[name - names] : quote;
    return 1;
  }
  if (*at == 'x') digits = 2;
  if (*at == 'u') digits = 4;
  if (*at == 'U') digits = 8;
  if (digits > 0 && hex(at + 1, digits, end, &value) == 0) {
    if (digits == 2) out[(*written)++] = (char)value;
    else if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return 0;
    else *written += kf_utf8_encode(out + *written, value);
    return digits + 1;
  }
  if (end - at < 3 || at[0] < '0' || at[0] > '3') return 0;
  for (int i = 0; i < 3; i++) {
    if (at[i] < '0' || at[i] > '7') return 0;
    value = value * 8 + (uint32_t)(at[i] - '0');
  }
  out[(*written)++] = (char)value;
  return 3;
}

static void add_quoted(struct parser *p, struct kf_path *list, const char *text, size_t length) {
  char quote = text[0], *out = kf_tree_alloc(p->tree, length);
  size_t written = 0;
  const char *end = text + length - 1;
  for (const char *at = text + 1; at < end; at++) {
    if (*at != '\\' && *at != quote) {
      out[written++] = *at;
      continue;
    }
    size_t used = *at == quote ? 0 : unescape(at + 1, end, quote, out, &written);
    if (used == 0)
      fail(p, lua_pushfstring(p->tree->L, "unquote string %s error invalid syntax", piece(p, text, length)));
    at += used;
  }
  add_new(p, list, KF_PATH_TEXT, out, written);
}

static void parse_quote(struct parser *p, struct kf_path *list, int quote) {
  for (;;) {
    int c = next(p);
    if (c == AT_END || c == '\n') fail(p, "unterminated quoted string");
    if (c == quote && p->text[p->at - 2] != '\\') break;
  }
  add_quoted(p, list, p->text + p->start, p->at - p->start);
  drop(p);
}

// --- fields, words, numbers -------------------------------------------------------------------------

// The text of a field without its backslashes.
static void add_field(struct parser *p, struct kf_path *list, const char *text, size_t length) {
  char *name = kf_tree_alloc(p->tree, length);
  size_t written = 0;
  if (length == 1 && *text == '*') {
    add(p, list, new_path(p, KF_PATH_WILDCARD));
    return;
  }
  for (size_t i = 0; i < length; i++)
    if (text[i] != '\\') name[written++] = text[i];
  add_new(p, list, KF_PATH_FIELD, name, written);
}

static void parse_field(struct parser *p, struct kf_path *list) {
  drop(p);
  while (!is_terminator(peek(p)))
    if (next(p) == '\\') next(p);
  add_field(p, list, p->text + p->start, p->at - p->start);
  drop(p);
}

static void add_value(struct parser *p, struct kf_path *list, struct kf_node value) {
  struct kf_node *node = kf_tree_new(p->tree, value.kind);
  *node = value;
  add(p, list, new_path(p, KF_PATH_VALUE))->value = node;
}

static void parse_word(struct parser *p, struct kf_path *list) {
  while (!is_terminator(peek(p))) next(p);
  const char *word = p->text + p->start;
  size_t length = p->at - p->start;
  bool is_true = length == 4 && memcmp(word, "true", 4) == 0;
  if (is_true || (length == 5 && memcmp(word, "false", 5) == 0))
    add_value(p, list, (struct kf_node){.kind = KF_BOOL, .boolean = is_true});
  else add_new(p, list, KF_PATH_WORD, word, length);
  drop(p);
}

static bool to_long(const char *text, size_t length, long *value) {
  char digits[24], *end;
  if (length == 0 || length >= sizeof digits || isspace((unsigned char)*text)) return false;
  memcpy(digits, text, length);
  digits[length] = '\0';
  errno = 0;
  *value = strtol(digits, &end, 10);
  return *end == '\0' && end != digits && errno == 0;
}

static void parse_number(struct parser *p, struct kf_path *list) {
  long integer;
  if (peek(p) == '+' || peek(p) == '-') next(p);
  while (peek(p) == '.' || is_digit(peek(p))) next(p);
  const char *text = piece(p, p->text + p->start, p->at - p->start);
  char *end;
  if (to_long(text, p->at - p->start, &integer)) {
    add_value(p, list, (struct kf_node){.kind = KF_INTEGER, .integer = integer});
  } else {
    double number = strtod(text, &end);
    if (*end || end == text) fail(p, lua_pushfstring(p->tree->L, "cannot parse number %s", text));
    add_value(p, list, (struct kf_node){.kind = KF_DOUBLE, .number = number});
  }
  drop(p);
}

// --- [] ---------------------------------------------------------------------------------------------

static void add_union(struct parser *p, struct kf_path *list, const char *text, size_t length) {
  struct kf_path *choice = new_path(p, KF_PATH_UNION);
  const char *end = text + length;
  for (const char *at = text;; at++) {
    const char *comma = memchr(at, ',', (size_t)(end - at)), *stop = comma ? comma : end;
    const char *first = at, *last = stop;
    while (first < last && *first == ' ') first++;
    while (last > first && last[-1] == ' ') last--;
    const char *word = piece(p, first, (size_t)(last - first));
    const char *action = lua_pushfstring(p->tree->L, "[%s]", word);
    add(p, choice, parse_action(p, action, strlen(action)));
    if (!comma) break;
    at = comma;
  }
  add(p, list, choice);
}

// One of the numbers of [from:to:step]: -?digits
static size_t bound_length(const char *text, size_t length) {
  size_t used = length > 0 && *text == '-';
  while (used < length && is_digit(text[used])) used++;
  return used;
}

static void read_bound(struct parser *p, struct kf_path_bound *bound, const char *text, size_t length) {
  if (length == 0) return;
  bound->known = true;
  if (!to_long(text, length, &bound->value))
    fail(p, lua_pushfstring(p->tree->L, "array index %s is not a number", piece(p, text, length)));
}

static void add_array(struct parser *p, struct kf_path *list, const char *text, size_t length) {
  struct kf_path *array = new_path(p, KF_PATH_ARRAY);
  size_t at = bound_length(text, length);
  struct kf_path_bound *bounds = array->bounds;
  bool colon = false;
  read_bound(p, &bounds[0], text, at);
  for (int i = 1; i < 3 && at < length && text[at] == ':'; i++) {
    size_t used = bound_length(text + at + 1, length - at - 1);
    read_bound(p, &bounds[i], text + at + 1, used);
    at += used + 1;
    colon = true;
  }
  if (at != length) fail(p, lua_pushfstring(p->tree->L, "invalid array index %s", piece(p, text, length)));
  if (!colon) bounds[1] = (struct kf_path_bound){bounds[0].value + 1, true, true};
  add(p, list, array);
}

static void parse_array(struct parser *p, struct kf_path *list) {
  for (;;) {
    int c = next(p);
    if (c == AT_END || c == '\n') fail(p, "unterminated array");
    if (c == ']') break;
  }
  const char *text = p->text + p->start + 1;
  size_t length = p->at - p->start - 2;
  drop(p);
  if (length == 1 && *text == '*') text = ":";
  if (memchr(text, ',', length)) {
    add_union(p, list, text, length);
  } else if (length >= 2 && *text == '\'' && text[length - 1] == '\'' && !memchr(text + 1, '\'', length - 2)) {
    const char *name = piece(p, text + 1, length - 2);
    const char *action = lua_pushfstring(p->tree->L, ".%s", name);
    struct kf_path *fields = parse_action(p, action, strlen(action));
    for (size_t i = 0; i < fields->count; i++) add(p, list, fields->children[i]);
  } else {
    add_array(p, list, text, length);
  }
}

// --- [?()] ------------------------------------------------------------------------------------------

static void skip_filter(struct parser *p) {
  bool begun = false, ended = false;
  int quote = 0;
  for (;;) {
    int c = next(p);
    if (c == AT_END || c == '\n') fail(p, "unterminated filter");
    if (c == '"' || c == '\'') {
      if (!begun) begun = true, quote = c;
      else if (p->text[p->at - 2] != '\\' && c == quote) ended = true;
    } else if (c == ')' && begun == ended) {
      break;
    }
  }
  if (next(p) != ']') fail(p, "unclosed array expect ]");
}

static void parse_filter(struct parser *p, struct kf_path *list) {
  static const char operators[] = "!<>=";
  p->at += strlen("[?(");
  drop(p);
  skip_filter(p);
  const char *text = p->text + p->start;
  size_t length = p->at - p->start - 2, left = 0;
  drop(p);
  while (left < length && !strchr(operators, text[left])) left++;
  size_t right = left;
  while (right < length && strchr(operators, text[right])) right++;
  struct kf_path *filter = new_path(p, KF_PATH_FILTER);
  bool compares = left > 0 && right > left && (right < length || right - left > 1);
  if (compares && right == length) right--;  // the right side is at least one character
  filter->text = compares ? text + left : "exists";
  filter->length = compares ? right - left : strlen("exists");
  add(p, filter, parse_action(p, text, compares ? left : length));
  if (compares) add(p, filter, parse_action(p, text + right, length - right));
  add(p, list, filter);
}

static void parse_recursive(struct parser *p, struct kf_path *list) {
  if (list->count > 0 && list->children[list->count - 1]->kind == KF_PATH_RECURSIVE)
    fail(p, "invalid multiple recursive descent");
  p->at += strlen("..");
  drop(p);
  add(p, list, new_path(p, KF_PATH_RECURSIVE));
  if (is_word(peek(p))) parse_field(p, list);
}

// --- actions and texts ------------------------------------------------------------------------------

static _Noreturn void fail_character(struct parser *p, size_t at) {
  size_t length = 1;
  uint32_t code = kf_utf8_length(p->text + at, p->size - at) > 0 ? kf_utf8_decode(p->text + at, &length)
                                                                 : (unsigned char)p->text[at];
  char number[16];
  static const char digits[] = "0123456789ABCDEF";
  size_t width = code > 0xfffff ? 6 : code > 0xffff ? 5 : 4;
  for (size_t i = 0; i < width; i++) number[i] = digits[code >> (4 * (width - 1 - i)) & 15];
  number[width] = '\0';
  const char *quoted = code >= 0x20 && code != 0x7f ? lua_pushfstring(p->tree->L, " '%s'", piece(p, p->text + at, length)) : "";
  fail(p, lua_pushfstring(p->tree->L, "unrecognized character in action: U+%s%s", number, quoted));
}

static void parse_step(struct parser *p, struct kf_path *list) {
  int c = next(p);
  if (c == AT_END || c == '\r' || c == '\n') fail(p, "unclosed action");
  if (c == ' ' || c == '@' || c == '$') {
    drop(p);
  } else if (c == '[') {
    parse_array(p, list);
  } else if (c == '"' || c == '\'') {
    parse_quote(p, list, c);
  } else if (c == '.') {
    parse_field(p, list);
  } else if (c == '+' || c == '-' || is_digit(c)) {
    p->at--;
    parse_number(p, list);
  } else if (is_word(c)) {
    p->at--;
    parse_word(p, list);
  } else {
    fail_character(p, p->at - 1);
  }
}

static void parse_inside(struct parser *p, struct kf_path *list) {
  int top = lua_gettop(p->tree->L);
  luaL_checkstack(p->tree->L, 20, "JSONPath");
  while (!begins(p, "}")) {
    if (begins(p, "[?(")) parse_filter(p, list);
    else if (begins(p, "..")) parse_recursive(p, list);
    else parse_step(p, list);
    if (p->depth == 0) lua_settop(p->tree->L, top);
  }
  p->at++;
  drop(p);
}

static void parse_template(struct parser *p) {
  while (p->at < p->size) {
    const char *brace = memchr(p->text + p->at, '{', p->size - p->at);
    size_t end = brace ? (size_t)(brace - p->text) : p->size;
    if (end > p->at) add_new(p, p->root, KF_PATH_TEXT, p->text + p->at, end - p->at);
    p->at = end;
    if (!brace) return;
    p->at++;
    drop(p);
    parse_inside(p, add(p, p->root, new_path(p, KF_PATH_LIST)));
  }
}

struct kf_path *kf_jsonpath_parse(struct kf_tree *tree, const char *text, size_t length) {
  struct parser p = {.tree = tree, .text = text, .size = length};
  p.root = new_path(&p, KF_PATH_LIST);
  parse_template(&p);
  return p.root;
}
