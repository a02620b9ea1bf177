#include "parse.h"

#include "base/utf8.h"
#include "error.h"

#include <ctype.h>
#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void cel_raise(lua_State *L, size_t offset, const char *message) {
  luaL_checkstack(L, 8, NULL);
  kf_error(L, "CEL", "%s", message);
  lua_pushinteger(L, (lua_Integer)offset);
  lua_setfield(L, -2, "offset");
  lua_error(L);
  abort();  // not reached
}

_Noreturn void cel_fail_at(struct parser *p, const char *at, const char *message) {
  cel_raise(p->tree->L, (size_t)(at - p->text), message);
}

const char *cel_piece(struct parser *p, const char *text, size_t length) {
  luaL_checkstack(p->tree->L, 20, "CEL");
  return lua_pushlstring(p->tree->L, text, length);
}

_Noreturn void cel_fail_token(struct parser *p) {
  if (p->token == T_END) cel_fail_at(p, p->start, "Syntax error: the expression ends too early");
  const char *word = cel_piece(p, p->start, p->length);
  cel_fail_at(p, p->start, lua_pushfstring(p->tree->L, "Syntax error: mismatched input '%s'", word));
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
  if (*end || end == copy || errno) cel_fail_at(p, p->start, is_uint ? "invalid uint literal" : "invalid int literal");
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
  p->value = cel_double(strtod(cel_piece(p, start, p->length), NULL));
  if (isinf(p->value.number)) cel_fail_at(p, start, "invalid double literal");
  lua_pop(p->tree->L, 1);
}

static int hex_digit(char c) {
  return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

// The code that an escape of `digits` digits names.
static uint32_t read_code(struct parser *p, const char *at, const char *end, int digits, int base) {
  uint32_t code = 0;
  if (end - at < digits) cel_fail_at(p, at, "Syntax error: an escape is cut off");
  for (int i = 0; i < digits; i++) {
    int digit = hex_digit(at[i]);
    if (digit < 0 || digit >= base) cel_fail_at(p, at, "Syntax error: an escape has a wrong digit");
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
  else cel_fail_at(p, at, "Syntax error: unknown escape");
  uint32_t code = read_code(p, at + (base == 16), end, digits, base);
  if (bytes) out[(*written)++] = (char)code;
  else if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) cel_fail_at(p, at, "Syntax error: no Unicode character");
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
    if (at >= p->end || (run == 1 && (*at == '\n' || *at == '\r'))) cel_fail_at(p, open, "Syntax error: a text does not end");
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
  if (!close) cel_fail_at(p, p->at, "Syntax error: a quoted name does not end");
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
    const char *character = cel_piece(p, p->at, p->length);
    cel_fail_at(p, p->at, lua_pushfstring(p->tree->L, "Syntax error: token recognition error at: '%s'", character));
  }
  p->at += p->length;
}

void cel_next(struct parser *p) {
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

bool cel_is(const struct parser *p, const char *symbol) {
  bool kind = p->token == T_SYMBOL || (p->token == T_WORD && !p->quoted);
  return kind && strlen(symbol) == p->length && memcmp(p->start, symbol, p->length) == 0;
}

bool cel_accept(struct parser *p, const char *symbol) {
  if (!cel_is(p, symbol)) return false;
  cel_next(p);
  return true;
}

void cel_expect(struct parser *p, const char *symbol) {
  if (!cel_accept(p, symbol)) cel_fail_token(p);
}
