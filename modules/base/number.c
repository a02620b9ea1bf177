#include "base/number.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// The first 19 digits of a number as they are scanned, and what scales them.
struct scan {
  uint64_t digits;
  int count;     // significant digits taken, at most 19
  bool dropped;  // a digit did not fit
  int exponent;
};

static const char *scan_digits(const char *at, struct scan *scan, int each) {
  for (; is_digit(*at); at++) {
    if (scan->count < 19) {
      scan->digits = scan->digits * 10 + (uint64_t)(*at - '0');
      if (scan->digits) scan->count++;
      scan->exponent += each;
    } else {
      scan->dropped = true;
      scan->exponent += each + 1;
    }
  }
  return at;
}

// An int64 from the digits, if they are one.
static bool to_integer(const struct scan *scan, bool negative, int64_t *integer) {
  if (scan->dropped || scan->digits > (uint64_t)INT64_MAX + negative) return false;
  *integer = negative ? (int64_t)(0 - scan->digits) : (int64_t)scan->digits;
  return true;
}

// Exact while digits and power of ten are exact doubles (W. Clinger's fast path).
static bool to_double(const struct scan *scan, bool negative, double *number) {
  static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  if (scan->dropped || scan->digits > UINT64_C(1) << 53 || abs(scan->exponent) > 22) return false;
  double value = (double)scan->digits;
  value = scan->exponent < 0 ? value / powers[-scan->exponent] : value * powers[scan->exponent];
  *number = negative ? -value : value;
  return true;
}

// Reads "e+12"; the exponent saturates. NULL when there is no digit.
static const char *scan_exponent(const char *at, struct scan *scan) {
  bool negative = *at == '-';
  int value = 0;
  if (*at == '+' || *at == '-') at++;
  if (!is_digit(*at)) return NULL;
  for (; is_digit(*at); at++)
    if (value < 100000) value = value * 10 + (*at - '0');
  scan->exponent += negative ? -value : value;
  return at;
}

static struct kf_number bad(const char *text, const char *at) {
  return (struct kf_number){.kind = KF_NUMBER_BAD, .length = (size_t)(at - text)};
}

struct kf_number kf_number_read(const char *text, size_t size) {
  struct scan scan = {0};
  const char *at = text;
  (void)size;
  bool negative = *at == '-', integral = true;
  at += negative;
  if (!is_digit(*at)) return bad(text, at);
  if (*at == '0' && is_digit(at[1])) return bad(text, at + 1);
  at = scan_digits(at, &scan, 0);
  if (*at == '.') {
    integral = false;
    if (!is_digit(at[1])) return bad(text, at + 1);
    at = scan_digits(at + 1, &scan, -1);
  }
  if (*at == 'e' || *at == 'E') {
    integral = false;
    const char *end = scan_exponent(at + 1, &scan);
    if (!end) return bad(text, at + 1 + (at[1] == '+' || at[1] == '-'));
    at = end;
  }
  struct kf_number number = {.kind = KF_NUMBER_DOUBLE, .length = (size_t)(at - text)};
  if (integral && !(negative && scan.digits == 0) && to_integer(&scan, negative, &number.integer)) {
    number.kind = KF_NUMBER_INTEGER;
  } else if (!to_double(&scan, negative, &number.number)) {
    number.number = strtod(text, NULL);
    if (isinf(number.number)) number.kind = KF_NUMBER_HUGE;
  }
  return number;
}

size_t kf_number_write_integer(char out[KF_NUMBER_SIZE], int64_t integer) {
  char digits[20];
  size_t count = 0, length = 0;
  uint64_t left = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
  do digits[count++] = (char)('0' + left % 10);
  while (left /= 10);
  if (integer < 0) out[length++] = '-';
  while (count > 0) out[length++] = digits[--count];
  return length;
}

static int without_zeros(const char *digits, int count) {
  while (count > 1 && digits[count - 1] == '0') count--;
  return count;
}

// The digits of a number with at most nine of them after the point; 0 when it is no such number. They are the
// shortest: doubles tell all decimals of 15 digits apart.
static int few_decimals(double number, char digits[KF_NUMBER_SIZE], int *exponent) {
  if (number >= 1e6) return 0;
  double scaled = floor(number * 1e9 + 0.5);
  if (scaled < 1 || scaled / 1e9 != number) return 0;
  int count = (int)kf_number_write_integer(digits, (int64_t)scaled);
  *exponent = count - 10;
  return without_zeros(digits, count);
}

// The shortest decimal digits that read back equal, and the exponent of the first one.
static int shortest_digits(double number, char digits[KF_NUMBER_SIZE], int *exponent) {
  char text[40];
  // 15 digits always survive, except where numbers are so small that they have fewer.
  for (int precision = number < 2.3e-308 ? 0 : 14;; precision++) {
    snprintf(text, sizeof text, "%.*e", precision, number);
    if (precision == 16 || strtod(text, NULL) == number) break;
  }
  int count = 0;
  const char *at = text;
  for (; *at != 'e'; at++)
    if (*at != '.') digits[count++] = *at;
  *exponent = atoi(at + 1);
  return without_zeros(digits, count);
}

static size_t write_plain(char *out, const char *digits, int count, int exponent) {
  size_t length = 0;
  if (exponent < 0) {
    out[length++] = '0';
    out[length++] = '.';
    for (int i = -1; i > exponent; i--) out[length++] = '0';
  }
  for (int i = 0; i < count || i <= exponent; i++) {
    if (exponent >= 0 && i == exponent + 1) out[length++] = '.';
    out[length++] = i < count ? digits[i] : '0';
  }
  return length;
}

static size_t write_scientific(char *out, const char *digits, int count, int exponent) {
  size_t length = 0;
  out[length++] = digits[0];
  if (count > 1) out[length++] = '.';
  for (int i = 1; i < count; i++) out[length++] = digits[i];
  out[length++] = 'e';
  out[length++] = exponent < 0 ? '-' : '+';
  return length + kf_number_write_integer(out + length, abs(exponent));
}

size_t kf_number_write(char out[KF_NUMBER_SIZE], double number) {
  const double exact = 9007199254740992.0;  // 2^53
  if (number == 0) {
    size_t zero_sign = signbit(number) != 0;
    out[0] = '-';
    out[zero_sign] = '0';
    return zero_sign + 1;
  }
  if (number > -exact && number < exact && number == floor(number))
    return kf_number_write_integer(out, (int64_t)number);
  char digits[KF_NUMBER_SIZE] = "";
  int exponent;
  size_t sign = number < 0;
  out[0] = '-';
  int count = few_decimals(fabs(number), digits, &exponent);
  if (count == 0) count = shortest_digits(fabs(number), digits, &exponent);
  if (exponent >= -6 && exponent < 21)
    return sign + write_plain(out + sign, digits, count, exponent);
  return sign + write_scientific(out + sign, digits, count, exponent);
}
