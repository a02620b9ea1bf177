#include "scalar.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_NUMBER = 1023 };  // a longer text of digits stays a text

static bool is_one_of(const char *text, size_t size, const char *words) {
  for (const char *word = words; *word;) {
    size_t length = strcspn(word, " ");
    if (length == size && memcmp(word, text, size) == 0) return true;
    word += length + (word[length] == ' ');
  }
  return false;
}

enum { LONGEST_WORD = 5 };  // of those below

static const char nulls[] = "~ null Null NULL";
static const char trues[] = "y Y yes Yes YES true True TRUE on On ON";
static const char falses[] = "n N no No NO false False FALSE off Off OFF";
static const char infinities[] = ".inf .Inf .INF +.inf +.Inf +.INF -.inf -.Inf -.INF";
static const char nans[] = ".nan .NaN .NAN";

// Copies the text without the underscores that may stand between digits; false when it is too long.
static bool without_underscores(const char *text, size_t size, char out[LONGEST_NUMBER + 1]) {
  size_t length = 0;
  for (size_t i = 0; i < size; i++) {
    if (text[i] == '_') continue;
    if (length >= LONGEST_NUMBER) return false;
    out[length++] = text[i];
  }
  out[length] = '\0';
  return true;
}

// Reads an integer of the base that its prefix says: 0b, 0o, 0x, or 0 for octal.
static bool read_integer(const char *text, int64_t *integer, double *number) {
  bool negative = *text == '-';
  const char *digits = text + (*text == '-' || *text == '+');
  int base = 10;
  if (digits[0] == '0' && digits[1]) {
    char prefix = (char)tolower((unsigned char)digits[1]);
    base = prefix == 'b' ? 2 : prefix == 'x' ? 16 : 8;
    digits += prefix == 'b' || prefix == 'x' || prefix == 'o' ? 2 : 1;
  }
  if (!isxdigit((unsigned char)*digits)) return false;
  uint64_t value = 0;
  bool overflow = false;
  double approximate = 0;
  for (; *digits; digits++) {
    int digit = isdigit((unsigned char)*digits) ? *digits - '0' : tolower((unsigned char)*digits) - 'a' + 10;
    if (!isxdigit((unsigned char)*digits) || digit >= base) return false;
    overflow |= value > (UINT64_MAX - (uint64_t)digit) / (uint64_t)base;
    value = value * (uint64_t)base + (uint64_t)digit;
    approximate = approximate * base + digit;
  }
  overflow |= value > (uint64_t)INT64_MAX + negative;
  if (value == 0 && negative) {
    *number = -0.0;
    return true;
  }
  if (overflow) {
    *number = base == 10 ? strtod(text, NULL) : negative ? -approximate : approximate;
    return true;
  }
  *integer = negative ? (int64_t)(0 - value) : (int64_t)value;
  *number = NAN;
  return true;
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
static bool is_float(const char *text) {
  const char *at = text + (*text == '-' || *text == '+');
  size_t whole = strspn(at, "0123456789");
  at += whole;
  size_t fraction = 0;
  if (*at == '.') {
    fraction = strspn(at + 1, "0123456789");
    at += 1 + fraction;
  }
  if (whole + fraction == 0) return false;
  if (*at == 'e' || *at == 'E') {
    at += 1 + (at[1] == '-' || at[1] == '+');
    size_t exponent = strspn(at, "0123456789");
    if (exponent == 0) return false;
    at += exponent;
  }
  return *at == '\0';
}

static enum kf_scalar_kind word_kind(const char *text, size_t size) {
  if (size == 0 || is_one_of(text, size, nulls)) return KF_SCALAR_NULL;
  if (is_one_of(text, size, trues)) return KF_SCALAR_TRUE;
  if (is_one_of(text, size, falses)) return KF_SCALAR_FALSE;
  if (is_one_of(text, size, infinities) || is_one_of(text, size, nans)) return KF_SCALAR_NOT_FINITE;
  if (size == 2 && memcmp(text, "<<", 2) == 0) return KF_SCALAR_MERGE;
  return KF_SCALAR_TEXT;
}

struct kf_scalar kf_scalar_resolve(const char *text, size_t size) {
  struct kf_scalar scalar = {.kind = KF_SCALAR_TEXT};
  char compact[LONGEST_NUMBER + 1];
  if (size <= LONGEST_WORD) {
    scalar.kind = word_kind(text, size);
    if (scalar.kind != KF_SCALAR_TEXT) return scalar;
  }
  if (!strchr("0123456789+-.", text[0]) || memchr(text, 0, size)) return scalar;
  if (!without_underscores(text, size, compact)) return scalar;
  if (read_integer(compact, &scalar.integer, &scalar.number)) {
    scalar.kind = isnan(scalar.number) ? KF_SCALAR_INTEGER : KF_SCALAR_DOUBLE;
  } else if (is_float(compact)) {
    scalar.number = strtod(compact, NULL);
    scalar.kind = isfinite(scalar.number) ? KF_SCALAR_DOUBLE : KF_SCALAR_TEXT;  // 1e400 is no number of Go's
  }
  return scalar;
}

// Beginnings that mean something, or that some reader takes for a number, a date or a base-60 one.
static bool begins_badly(const char *text, size_t size) {
  char c = text[0];
  if (c == '?' || c == ':') return true;
  if (c == '-') return size == 1 || !(isalpha((unsigned char)text[1]) || text[1] == '_' || text[1] == '/');
  if (strchr(",[]{}#&*!|>'\"%@`=~", c)) return true;
  return isdigit((unsigned char)c) || c == '+' || (c == '.' && size > 1);
}

// A text of digits and what joins them in numbers, dates and times.
static bool looks_numeric(const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (!isxdigit((unsigned char)text[i]) && !strchr("+-.:_xXoObBeEtTzZ ", text[i])) return false;
  return true;
}

// How many bytes from the first on, eight at a time, have no meaning of their own in a plain text.
static size_t common_run(const char *text, size_t size) {
  const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
  size_t done = 0;
  for (uint64_t word; size - done >= sizeof word; done += sizeof word) {
    memcpy(&word, text + done, sizeof word);
    uint64_t colon = word ^ ones * ':', mark = word ^ ones * '#', delete = word ^ ones * 0x7f;
    uint64_t special = ((colon - ones) & ~colon) | ((mark - ones) & ~mark) |
                       ((delete - ones) & ~delete) | ((word - ones * 0x20) & ~word) | word;
    if (special & highs) break;
  }
  return done;
}

bool kf_scalar_is_plain(const char *text, size_t size) {
  if (size == 0 || text[0] == ' ' || text[size - 1] == ' ' || text[size - 1] == ':') return false;
  if (kf_scalar_resolve(text, size).kind != KF_SCALAR_TEXT) return false;
  if (begins_badly(text, size)) {
    char c = text[0];
    // Names and versions that begin with a digit are common and clear enough.
    if (!isdigit((unsigned char)c) || looks_numeric(text, size)) return false;
  }
  for (size_t i = 0; i < size; i++) {
    i += common_run(text + i, size - i);
    if (i == size) break;
    unsigned char c = (unsigned char)text[i];
    if (c < 0x20 || c >= 0x7f) return false;
    if (c == ':' && (i + 1 == size || text[i + 1] == ' ' || text[i + 1] == '\t')) return false;
    if (c == '#' && i > 0 && (text[i - 1] == ' ' || text[i - 1] == '\t')) return false;
  }
  return true;
}
