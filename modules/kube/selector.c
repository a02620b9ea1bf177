// Label selectors with the syntax of kubectl and the API server, good and bad: the texts of errors are
// the server's.
#include "kube.h"

#include "error.h"
#include "values.h"

#include <ctype.h>
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_SELECTOR "kfhost.kube.selector"

enum token { END, CLOSE, COMMA, NOT, EQUALS2, EQUALS, GREATER, WORD, IN, LESS, NOT_EQUALS, NOT_IN, OPEN, BROKEN };
enum operator { OP_IN, OP_NOT_IN, OP_EQUALS, OP_EQUALS2, OP_NOT_EQUALS, OP_GREATER, OP_LESS, OP_EXISTS, OP_MISSING };

static const struct {
  const char *text;
  enum token token;
} words[] = {{")", CLOSE},   {",", COMMA}, {"!", NOT},  {"==", EQUALS2},   {"=", EQUALS},     {">", GREATER},
             {"in", IN},     {"<", LESS},  {"!=", NOT_EQUALS}, {"notin", NOT_IN}, {"(", OPEN}};

struct text {
  const char *at;
  size_t length;
};
struct requirement {
  struct text key;
  enum operator op;
  size_t first, count;  // of its values
};
// One userdata: the struct, then room for requirements, values, and a copy of the text.
struct selector {
  size_t count, values_count;
  struct requirement *requirements;
  struct text *values;
};

struct parser {
  lua_State *L;
  const char *at, *end;
  enum token token;  // the next one
  struct text literal;
  struct selector *selector;
};

// --- errors -------------------------------------------------------------------------------------------

// [message] -> raises
static _Noreturn void fail(lua_State *L, const char *message) {
  kf_fail(L, "Selector", "%s", message);
  abort();  // not reached
}

static const char *string_of(lua_State *L, struct text text) {
  return lua_pushlstring(L, text.at, text.length);
}

static _Noreturn void fail_found(struct parser *p, struct text found, const char *expected, bool in_requirement) {
  const char *literal = string_of(p->L, found);
  fail(p->L, lua_pushfstring(p->L, "%sfound '%s'%s", in_requirement ? "unable to parse requirement: " : "", literal,
                             expected));
}

// --- names and values -----------------------------------------------------------------------------------

#define LABEL "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an " \
              "alphanumeric character"
#define NAME_RULE LABEL " (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is " \
                        "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
static const char key_rule[] =
    "a valid label key " NAME_RULE " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
static const char value_rule[] =
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
static const char prefix_rule[] =
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

static bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_name(struct text text) {
  if (text.length == 0 || !is_alphanumeric(text.at[0]) || !is_alphanumeric(text.at[text.length - 1])) return false;
  for (size_t i = 0; i < text.length; i++)
    if (!is_alphanumeric(text.at[i]) && (text.at[i] == '\0' || !strchr("-_.", text.at[i]))) return false;
  return true;
}

static bool is_domain(struct text text) {
  bool start = true;
  for (size_t i = 0; i < text.length; i++) {
    char c = text.at[i];
    bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    bool last = i + 1 == text.length || text.at[i + 1] == '.';
    if (c == '.' ? start : !plain && (c != '-' || start || last)) return false;
    start = c == '.';
  }
  return text.length > 0 && !start;
}

static void add_problem(lua_State *L, int *count, const char *problem) {
  if ((*count)++ > 0) lua_pushliteral(L, "; ");
  lua_pushstring(L, problem);
  if (*count > 1) lua_concat(L, 3);
}

// [-0, +(0|1), e] pushes what is wrong with a key.
static bool push_key_problem(lua_State *L, struct text key) {
  int count = 0;
  struct text prefix = {0}, name = key;
  const char *slash = memchr(key.at, '/', key.length);
  if (slash) {
    prefix = (struct text){key.at, (size_t)(slash - key.at)};
    name = (struct text){slash + 1, key.length - prefix.length - 1};
  }
  if (slash && memchr(name.at, '/', name.length)) {
    lua_pushstring(L, key_rule);
    return true;
  }
  if (slash && prefix.length == 0) add_problem(L, &count, "prefix part must be non-empty");
  if (prefix.length > 253) add_problem(L, &count, "prefix part must be no more than 253 bytes");
  if (prefix.length > 0 && !is_domain(prefix)) add_problem(L, &count, prefix_rule);
  if (name.length == 0) add_problem(L, &count, "name part must be non-empty");
  if (name.length > 63) add_problem(L, &count, "name part must be no more than 63 bytes");
  if (!is_name(name)) add_problem(L, &count, "name part " NAME_RULE);
  return count > 0;
}

static void check_key(struct parser *p, struct text key) {
  if (!push_key_problem(p->L, key)) return;
  const char *problem = lua_tostring(p->L, -1), *text = string_of(p->L, key);
  fail(p->L, lua_pushfstring(p->L, "unable to parse requirement: <nil>: Invalid value: \"%s\": %s", text, problem));
}

static bool to_integer(struct text text, long long *integer) {
  char digits[24], *end;
  if (text.length == 0 || text.length >= sizeof digits || isspace((unsigned char)text.at[0])) return false;
  memcpy(digits, text.at, text.length);
  digits[text.length] = '\0';
  errno = 0;
  *integer = strtoll(digits, &end, 10);
  return *end == '\0' && end != digits && errno == 0;
}

// [text -> text, e] adds a problem of a value to the text of those before it.
static void add_value_problem(lua_State *L, int *count, size_t index, const char *key, struct text value,
                              const char *problem) {
  const char *text = string_of(L, value);
  lua_pushfstring(L, "%svalues[%d]%s: Invalid value: \"%s\": %s", *count ? ", " : "", (int)index, key, text, problem);
  lua_remove(L, -2);
  (*count)++;
  lua_concat(L, 2);
}

// The values of the newest requirement must be label values, integers for > and <.
static void check_values(struct parser *p, const struct requirement *r) {
  lua_State *L = p->L;
  int count = 0, top = lua_gettop(L);
  long long integer;
  const char *key = string_of(L, r->key);
  key = lua_pushfstring(L, "[%s]", key);
  lua_pushliteral(L, "");
  for (size_t i = 0; i < r->count; i++) {
    struct text value = p->selector->values[r->first + i];
    if ((r->op == OP_GREATER || r->op == OP_LESS) && !to_integer(value, &integer))
      add_value_problem(L, &count, i, "", value, "for 'Gt', 'Lt' operators, the value must be an integer");
    if (value.length > 63 || (value.length > 0 && !is_name(value))) {
      const char *both = lua_pushfstring(L, "%s%s%s", value.length > 63 ? "must be no more than 63 bytes" : "",
                                         value.length > 63 && !is_name(value) ? "; " : "", is_name(value) ? "" : value_rule);
      lua_insert(L, -2);
      add_value_problem(L, &count, i, key, value, both);
      lua_remove(L, -2);
    }
  }
  if (count == 0) {
    lua_settop(L, top);
    return;
  }
  const char *problems = lua_tostring(L, -1);
  fail(L, lua_pushfstring(L, count > 1 ? "unable to parse requirement: [%s]" : "unable to parse requirement: %s",
                          problems));
}

// --- tokens -------------------------------------------------------------------------------------------

static bool is_special(char c) {
  return c != '\0' && strchr("=!(),><", c);
}

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static enum token word_token(struct text text) {
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strlen(words[i].text) == text.length && memcmp(words[i].text, text.at, text.length) == 0)
      return words[i].token;
  return WORD;
}

// The longest operator that begins here.
static void read_special(struct parser *p) {
  size_t length = 1;
  p->token = word_token((struct text){p->at, 1});
  if (p->end - p->at > 1 && is_special(p->at[1])) {
    enum token longer = word_token((struct text){p->at, 2});
    if (longer != WORD) p->token = longer, length = 2;
  }
  p->literal = (struct text){p->at, length};
  p->at += length;
}

static void next(struct parser *p) {
  while (p->at < p->end && is_blank(*p->at)) p->at++;
  p->literal = (struct text){p->at, 0};
  if (p->at == p->end || *p->at == '\0') {
    p->token = END;
  } else if (is_special(*p->at)) {
    read_special(p);
  } else {
    while (p->at < p->end && *p->at && !is_special(*p->at) && !is_blank(*p->at)) p->at++;
    p->literal.length = (size_t)(p->at - p->literal.at);
    p->token = word_token(p->literal);
  }
}

// Where a value may stand, in and notin are words.
static enum token as_value(const struct parser *p) {
  return p->token == IN || p->token == NOT_IN ? WORD : p->token;
}

// --- requirements ---------------------------------------------------------------------------------------

static int compare_texts(struct text a, struct text b) {
  int order = memcmp(a.at, b.at, a.length < b.length ? a.length : b.length);
  return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

static void add_value(struct parser *p, struct requirement *r, struct text value) {
  p->selector->values[r->first + r->count++] = value;
}

static int compare_values(const void *a, const void *b) {
  return compare_texts(*(const struct text *)a, *(const struct text *)b);
}

// The values of a requirement, sorted, each once.
static void end_values(struct parser *p, struct requirement *r) {
  struct text *values = p->selector->values + r->first;
  size_t kept = 0;
  if (r->count > 1) qsort(values, r->count, sizeof *values, compare_values);
  for (size_t i = 0; i < r->count; i++)
    if (kept == 0 || compare_texts(values[kept - 1], values[i]) != 0) values[kept++] = values[i];
  r->count = kept;
  p->selector->values_count += kept;
}

static enum operator read_operator(struct parser *p) {
  static const enum operator by_token[] = {[IN] = OP_IN,         [NOT_IN] = OP_NOT_IN,         [EQUALS] = OP_EQUALS,
                                           [EQUALS2] = OP_EQUALS2, [NOT_EQUALS] = OP_NOT_EQUALS,
                                           [GREATER] = OP_GREATER, [LESS] = OP_LESS};
  enum token token = p->token;
  bool known = token == IN || token == NOT_IN || token == EQUALS || token == EQUALS2 || token == NOT_EQUALS ||
               token == GREATER || token == LESS;
  if (!known) fail_found(p, p->literal, ", expected: in, notin, =, ==, !=, gt, lt", true);
  next(p);
  return by_token[token];
}

static void read_list_items(struct parser *p, struct requirement *r) {
  for (;;) {
    enum token token = as_value(p);
    struct text literal = p->literal;
    next(p);
    if (token == WORD) {
      add_value(p, r, literal);
      if (as_value(p) == CLOSE) return;
      if (as_value(p) != COMMA) fail_found(p, p->literal, ", expected: ',' or ')'", true);
    } else if (token == COMMA) {
      if (r->count == 0) add_value(p, r, (struct text){"", 0});
      if (as_value(p) == CLOSE || as_value(p) == COMMA) add_value(p, r, (struct text){"", 0});
      if (as_value(p) == CLOSE) return;
    } else {
      fail_found(p, literal, ", expected: ',', or identifier", true);
    }
  }
}

// (a,b) with blanks as values where commas have nothing beside them
static void read_list(struct parser *p, struct requirement *r) {
  if (as_value(p) != OPEN) fail_found(p, p->literal, " expected: '('", true);
  next(p);
  if (as_value(p) == CLOSE) add_value(p, r, (struct text){"", 0});
  else if (as_value(p) == WORD || as_value(p) == COMMA) read_list_items(p, r);
  else fail_found(p, p->literal, ", expected: ',', ')' or identifier", true);
  next(p);
}

static void read_value(struct parser *p, struct requirement *r) {
  struct text literal = p->literal;
  enum token token = as_value(p);
  if (token == END || token == COMMA) {
    add_value(p, r, (struct text){"", 0});
    return;
  }
  next(p);
  if (token != WORD) fail_found(p, literal, ", expected: identifier", true);
  add_value(p, r, literal);
}

static void read_requirement(struct parser *p) {
  struct requirement *r = &p->selector->requirements[p->selector->count];
  *r = (struct requirement){.op = OP_EXISTS, .first = p->selector->values_count};
  bool negated = p->token == NOT;
  if (negated) next(p);
  struct text key = p->literal;
  if (as_value(p) != WORD) fail_found(p, key, ", expected: identifier", true);
  check_key(p, key);
  next(p);
  r->key = key;
  if (negated) {
    r->op = OP_MISSING;
  } else if (as_value(p) != END && as_value(p) != COMMA) {
    r->op = read_operator(p);
    if (r->op == OP_IN || r->op == OP_NOT_IN) read_list(p, r);
    else read_value(p, r);
  }
  end_values(p, r);
  check_values(p, r);
  p->selector->count++;
}

static void read_all(struct parser *p) {
  while (as_value(p) != END) {
    if (as_value(p) != WORD && p->token != NOT)
      fail_found(p, p->literal, ", expected: !, identifier, or 'end of string'", false);
    read_requirement(p);
    if (as_value(p) == END) return;
    if (as_value(p) != COMMA) fail_found(p, p->literal, ", expected: ',' or 'end of string'", false);
    next(p);
    if (as_value(p) != WORD && p->token != NOT) fail_found(p, p->literal, ", expected: identifier after ','", false);
  }
}

// Of requirements of one key the first stays first: their keys are pieces of one text.
static int compare_requirements(const void *one, const void *other) {
  const struct requirement *a = one, *b = other;
  int order = compare_texts(a->key, b->key);
  return order != 0 ? order : (a->key.at > b->key.at) - (a->key.at < b->key.at);
}

static void sort_by_key(struct selector *selector) {
  qsort(selector->requirements, selector->count, sizeof *selector->requirements, compare_requirements);
}

// kube.selector(text) -> selector
int kf_selector_new(lua_State *L) {
  struct parser p = {.L = L};
  size_t length, commas = 1, places = 0;
  const char *text = luaL_checklstring(L, 1, &length);
  for (size_t i = 0; i < length; i++) commas += text[i] == ',';
  places = 2 * commas + 1;  // values: one for each comma, and one more for each requirement
  size_t requirements_size = commas * sizeof(struct requirement), values_size = places * sizeof(struct text);
  char *block = lua_newuserdatauv(L, sizeof *p.selector + requirements_size + values_size + length + 1, 0);
  p.selector = (void *)block;
  block += sizeof *p.selector;
  *p.selector = (struct selector){.requirements = (void *)block, .values = (void *)(block + requirements_size)};
  block += requirements_size + values_size;
  memcpy(block, text, length + 1);
  luaL_setmetatable(L, TYPE_SELECTOR);
  p.at = block;
  p.end = block + length;
  next(&p);
  luaL_checkstack(L, 40, "selector");
  read_all(&p);
  sort_by_key(p.selector);
  lua_settop(L, 2);
  return 1;
}

// --- matching -------------------------------------------------------------------------------------------

static bool has_value(const struct selector *selector, const struct requirement *r, struct text value) {
  for (size_t i = 0; i < r->count; i++)
    if (compare_texts(selector->values[r->first + i], value) == 0) return true;
  return false;
}

static bool compares(const struct selector *selector, const struct requirement *r, struct text value) {
  long long ours, theirs;
  if (!to_integer(value, &theirs) || !to_integer(selector->values[r->first], &ours)) return false;
  return r->op == OP_GREATER ? theirs > ours : theirs < ours;
}

// Whether the label (absent when its text is NULL) fits.
static bool fits(const struct selector *selector, const struct requirement *r, struct text label) {
  switch (r->op) {
  case OP_EXISTS: return label.at != NULL;
  case OP_MISSING: return label.at == NULL;
  case OP_NOT_IN:
  case OP_NOT_EQUALS: return !label.at || !has_value(selector, r, label);
  case OP_GREATER:
  case OP_LESS: return label.at && compares(selector, r, label);
  default: return label.at && has_value(selector, r, label);
  }
}

// selector:matches(labels) -> boolean
static int l_matches(lua_State *L) {
  const struct selector *selector = luaL_checkudata(L, 1, TYPE_SELECTOR);
  bool none = lua_isnoneornil(L, 2) || kf_is_null(L, 2), matches = true;
  if (!none) luaL_checktype(L, 2, LUA_TTABLE);
  for (size_t i = 0; matches && i < selector->count; i++) {
    const struct requirement *r = &selector->requirements[i];
    struct text label = {0};
    lua_pushlstring(L, r->key.at, r->key.length);
    if (!none && lua_gettable(L, 2) == LUA_TSTRING) label.at = lua_tolstring(L, -1, &label.length);
    matches = fits(selector, r, label);
    lua_pop(L, 1);
  }
  lua_pushboolean(L, matches);
  return 1;
}

static const char *const operator_texts[] = {" in (", " notin (", "=", "==", "!=", ">", "<", "", ""};
static const char *const operator_names[] = {"in", "notin", "=", "==", "!=", ">", "<", "exists", "!"};

static void add_requirement(luaL_Buffer *text, const struct selector *selector, const struct requirement *r) {
  if (r->op == OP_MISSING) luaL_addchar(text, '!');
  luaL_addlstring(text, r->key.at, r->key.length);
  luaL_addstring(text, operator_texts[r->op]);
  for (size_t i = 0; i < r->count; i++) {
    if (i > 0) luaL_addchar(text, ',');
    luaL_addlstring(text, selector->values[r->first + i].at, selector->values[r->first + i].length);
  }
  if (r->op == OP_IN || r->op == OP_NOT_IN) luaL_addchar(text, ')');
}

static int l_text(lua_State *L) {
  const struct selector *selector = luaL_checkudata(L, 1, TYPE_SELECTOR);
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  for (size_t i = 0; i < selector->count; i++) {
    if (i > 0) luaL_addchar(&text, ',');
    add_requirement(&text, selector, &selector->requirements[i]);
  }
  luaL_pushresult(&text);
  return 1;
}

// selector:requirements() -> {{key, operator, values}, …}, sorted by key
static int l_requirements(lua_State *L) {
  const struct selector *selector = luaL_checkudata(L, 1, TYPE_SELECTOR);
  lua_newtable(L);
  for (size_t i = 0; i < selector->count; i++) {
    const struct requirement *r = &selector->requirements[i];
    lua_createtable(L, 0, 3);
    lua_pushlstring(L, r->key.at, r->key.length);
    lua_setfield(L, -2, "key");
    lua_pushstring(L, operator_names[r->op]);
    lua_setfield(L, -2, "operator");
    lua_createtable(L, (int)r->count, 0);
    for (size_t j = 0; j < r->count; j++) {
      lua_pushlstring(L, selector->values[r->first + j].at, selector->values[r->first + j].length);
      lua_rawseti(L, -2, (lua_Integer)j + 1);
    }
    lua_setfield(L, -2, "values");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static const luaL_Reg methods[] = {
    {"matches", l_matches}, {"text", l_text}, {"requirements", l_requirements}, {NULL, NULL}};

void kf_selector_prepare(lua_State *L) {
  luaL_newmetatable(L, TYPE_SELECTOR);
  lua_pushcfunction(L, l_text);
  lua_setfield(L, -2, "__tostring");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "selector");
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
