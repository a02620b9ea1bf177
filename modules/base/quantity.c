#include "base/quantity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char wrong_form[] =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
static const char wrong_number[] = "unable to parse numeric part of quantity";
static const char wrong_suffix[] = "unable to parse quantity's suffix";

enum { NANO = -9, INT64_DIGITS = 18 };

static const struct suffix {
  char text[3];
  enum kf_quantity_format format;
  int exponent;  // of 10, or of 2
} suffixes[] = {
    {"", KF_QUANTITY_SI, 0},       {"n", KF_QUANTITY_SI, -9},     {"u", KF_QUANTITY_SI, -6},
    {"m", KF_QUANTITY_SI, -3},     {"k", KF_QUANTITY_SI, 3},      {"M", KF_QUANTITY_SI, 6},
    {"G", KF_QUANTITY_SI, 9},      {"T", KF_QUANTITY_SI, 12},     {"P", KF_QUANTITY_SI, 15},
    {"E", KF_QUANTITY_SI, 18},     {"Ki", KF_QUANTITY_BINARY, 10}, {"Mi", KF_QUANTITY_BINARY, 20},
    {"Gi", KF_QUANTITY_BINARY, 30}, {"Ti", KF_QUANTITY_BINARY, 40}, {"Pi", KF_QUANTITY_BINARY, 50},
    {"Ei", KF_QUANTITY_BINARY, 60},
};

// The pieces of a text: sign, digits before and after the point, suffix.
struct pieces {
  bool negative;
  const char *whole, *fraction, *suffix;
  size_t whole_length, fraction_length, suffix_length;
};

static size_t span(const char *at, const char *end, const char *accepted) {
  const char *start = at;
  while (at < end && *at && strchr(accepted, *at)) at++;
  return (size_t)(at - start);
}

static bool split(struct pieces *p, const char *text, size_t length) {
  static const char digits[] = "0123456789";
  const char *at = text, *end = text + length;
  *p = (struct pieces){.negative = *text == '-'};
  if (*at == '-' || *at == '+') at++;
  at += span(at, end, "0");
  p->whole = at;
  p->whole_length = span(at, end, digits);
  at += p->whole_length;
  if (at < end && *at == '.') at++;
  p->fraction = at;
  if (at > p->whole + p->whole_length) p->fraction_length = span(at, end, digits);
  at += p->fraction_length;
  p->suffix = at;
  at += span(at, end, "eEinumkKMGTP");
  if (at < end && (*at == '-' || *at == '+')) at++;
  at += span(at, end, digits);
  p->suffix_length = (size_t)(end - p->suffix);
  return at == end;
}

static bool interpret(const struct pieces *p, enum kf_quantity_format *format, int32_t *exponent) {
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
    if (strlen(suffixes[i].text) != p->suffix_length || memcmp(suffixes[i].text, p->suffix, p->suffix_length) != 0)
      continue;
    *format = suffixes[i].format;
    *exponent = suffixes[i].exponent;
    return true;
  }
  char digits[16], *end;
  if (p->suffix_length < 2 || p->suffix_length >= sizeof digits || (*p->suffix != 'e' && *p->suffix != 'E')) return false;
  memcpy(digits, p->suffix + 1, p->suffix_length - 1);
  digits[p->suffix_length - 1] = '\0';
  long long value = strtoll(digits, &end, 10);
  if (*end || end == digits || value > 1000000000 || value < -1000000000) return false;
  *format = KF_QUANTITY_EXPONENT;
  *exponent = (int32_t)value;
  return true;
}

// Whether Kubernetes keeps the number in an int64, where it neither rounds nor caps.
static bool is_fast(struct kf_quantity *quantity, const struct pieces *p, int32_t exponent, const struct kf_decimal *product) {
  int digits = (int)(p->whole_length ? p->whole_length : 1) + (int)p->fraction_length;
  int precision = INT64_DIGITS - digits;
  if (quantity->format == KF_QUANTITY_BINARY)
    precision = p->fraction_length > 0 ? -1 : 15 - digits - exponent * 3 / 10 - 1;
  int64_t fits;
  struct kf_decimal digits_only = *product;
  digits_only.scale = 0;
  return precision >= 0 && product->scale >= NANO && kf_decimal_integer(&digits_only, 0, &fits);
}

// Whether the text itself is what Kubernetes prints: its own test for that, which lets "+1" and "1.500" pass.
static bool is_kept(const struct kf_quantity *quantity, const struct pieces *p, int32_t exponent, int32_t scale) {
  size_t whole = p->whole_length, fraction = p->fraction_length;
  if (quantity->format == KF_QUANTITY_BINARY)
    return exponent % 10 == 0 && whole > 0 && (strtoull(p->whole, NULL, 10) & 7) != 0;
  if (scale % 3 != 0 || whole == 0) return false;
  size_t zeros = 0;
  while (zeros < 3 && zeros < whole + fraction) {
    size_t back = zeros + 1;
    char digit = back <= fraction ? p->fraction[fraction - back] : p->whole[whole - (back - fraction)];
    if (digit != '0') break;
    zeros++;
  }
  return zeros < 3;
}

static void round_and_cap(struct kf_quantity *quantity) {
  struct kf_decimal limit, one;
  bool negative = quantity->amount.negative;
  quantity->amount.negative = false;
  kf_decimal_round_up(&quantity->amount, NANO);
  kf_decimal_set(&limit, INT64_MAX, 0);
  kf_decimal_set(&one, 1, 0);
  if (quantity->format == KF_QUANTITY_BINARY) {
    if (kf_decimal_compare(&quantity->amount, &limit) > 0) quantity->amount = limit;
    if (quantity->amount.count > 0 && kf_decimal_compare(&quantity->amount, &one) < 0) quantity->format = KF_QUANTITY_SI;
  }
  quantity->amount.negative = negative && quantity->amount.count > 0;
}

static bool has_digits(const char *text, const char *end) {
  while (text < end && (*text < '0' || *text > '9')) text++;
  return text < end;
}

const char *kf_quantity_read(struct kf_quantity *quantity, const char *text, size_t length) {
  struct pieces p;
  char digits[KF_DECIMAL_DIGITS];
  int32_t exponent;
  memset(quantity, 0, sizeof *quantity);
  if (length == 0 || !split(&p, text, length)) return wrong_form;
  if (!interpret(&p, &quantity->format, &exponent)) return wrong_suffix;
  if (p.whole_length + p.fraction_length > sizeof digits - 64) return wrong_number;
  memcpy(digits, p.whole, p.whole_length);
  memcpy(digits + p.whole_length, p.fraction, p.fraction_length);
  bool binary = quantity->format == KF_QUANTITY_BINARY;
  int32_t scale = (binary ? 0 : exponent) - (int32_t)p.fraction_length;
  struct kf_decimal *amount = &quantity->amount;
  if (!kf_decimal_read(amount, digits, p.whole_length + p.fraction_length, scale)) return wrong_number;
  for (int32_t i = 0; binary && i < exponent; i += 10)
    if (!kf_decimal_multiply(amount, 1024)) return wrong_number;
  quantity->fast = is_fast(quantity, &p, exponent, amount);
  if (quantity->fast && length < sizeof quantity->kept && is_kept(quantity, &p, exponent, scale))
    memcpy(quantity->kept, text, length);
  amount->negative = p.negative && amount->count > 0;
  if (quantity->fast) return NULL;
  if (!has_digits(text, p.suffix)) return wrong_number;
  round_and_cap(quantity);
  return NULL;
}

// --- writing ------------------------------------------------------------------------------------------

static const char *suffix_of(enum kf_quantity_format format, int exponent) {
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
    if (suffixes[i].format == format && suffixes[i].exponent == exponent) return suffixes[i].text;
  return "";
}

static size_t put(char *out, const struct kf_decimal *amount, const char *suffix) {
  size_t length = 0;
  if (amount->negative) out[length++] = '-';
  length += kf_decimal_digits(amount, out + length);
  size_t rest = strlen(suffix);
  memcpy(out + length, suffix, rest + 1);
  return length + rest;
}

// The largest exponent that is a multiple of three; beyond E it has no name and is written as a number.
static size_t write_decimal(struct kf_decimal *amount, enum kf_quantity_format format, char *out) {
  char suffix[16] = "";
  kf_decimal_reduce(amount);
  while (amount->scale % 3 != 0) {
    if (!kf_decimal_multiply(amount, 10)) break;
    amount->scale--;
  }
  bool si = format == KF_QUANTITY_SI && amount->scale <= 18;
  if (!si && amount->scale != 0) snprintf(suffix, sizeof suffix, "e%d", amount->scale);
  return put(out, amount, si ? suffix_of(KF_QUANTITY_SI, amount->scale) : suffix);
}

static bool is_small(const struct kf_decimal *amount) {
  struct kf_decimal limit, size = *amount;
  kf_decimal_set(&limit, 1024, 0);
  size.negative = false;
  return kf_decimal_compare(&size, &limit) < 0;
}

// The largest power of 1024; one beyond Ei has no name, and the number is written as a decimal one.
static size_t write_binary(struct kf_decimal *amount, char *out) {
  int exponent = 0;
  struct kf_decimal all = *amount;
  while (amount->scale > 0 && kf_decimal_multiply(amount, 10)) amount->scale--;
  for (struct kf_decimal next = *amount; exponent <= 60 && kf_decimal_divide(&next, 1024) == 0; exponent += 10) {
    if (next.count == 0) break;
    *amount = next;
  }
  if (exponent > 60) return write_decimal(&all, KF_QUANTITY_EXPONENT, out);
  return put(out, amount, suffix_of(KF_QUANTITY_BINARY, exponent));
}

size_t kf_quantity_write(const struct kf_quantity *quantity, char out[KF_QUANTITY_TEXT]) {
  struct kf_decimal amount = quantity->amount, whole = amount;
  if (quantity->kept[0]) return (size_t)snprintf(out, KF_QUANTITY_TEXT, "%s", quantity->kept);
  if (amount.count == 0) return (size_t)snprintf(out, KF_QUANTITY_TEXT, "0");
  if (quantity->format != KF_QUANTITY_BINARY) return write_decimal(&amount, quantity->format, out);
  if (is_small(&amount) || !kf_decimal_round_up(&whole, 0)) return write_decimal(&amount, KF_QUANTITY_SI, out);
  return write_binary(&whole, out);
}

bool kf_quantity_add(struct kf_quantity *sum, const struct kf_quantity *a, const struct kf_quantity *b, bool subtract) {
  struct kf_quantity other = *b, result = {.fast = a->fast && b->fast};
  result.format = a->amount.count == 0 ? b->format : a->format;
  if (subtract && other.amount.count > 0) other.amount.negative = !other.amount.negative;
  if (!kf_decimal_add(&result.amount, &a->amount, &other.amount)) return false;
  *sum = result;
  return true;
}
