#include "base/decimal.h"

#include <string.h>

enum { BASE = 1000000000 };

static void trim(struct kf_decimal *number) {
  while (number->count > 0 && number->limbs[number->count - 1] == 0) number->count--;
  if (number->count == 0) number->negative = false;
}

bool kf_decimal_multiply(struct kf_decimal *number, uint32_t factor) {
  uint64_t carry = 0;
  for (int i = 0; i < number->count; i++) {
    carry += (uint64_t)number->limbs[i] * factor;
    number->limbs[i] = (uint32_t)(carry % BASE);
    carry /= BASE;
  }
  for (; carry > 0; carry /= BASE) {
    if (number->count == KF_DECIMAL_LIMBS) return false;
    number->limbs[number->count++] = (uint32_t)(carry % BASE);
  }
  trim(number);
  return true;
}

uint32_t kf_decimal_divide(struct kf_decimal *number, uint32_t divisor) {
  uint64_t rest = 0;
  for (int i = number->count; i-- > 0;) {
    rest = rest * BASE + number->limbs[i];
    number->limbs[i] = (uint32_t)(rest / divisor);
    rest %= divisor;
  }
  trim(number);
  return (uint32_t)rest;
}

// Adds a number without sign to the digits.
static bool add_small(struct kf_decimal *number, uint32_t value) {
  uint64_t carry = value;
  for (int i = 0; i < number->count && carry > 0; i++) {
    carry += number->limbs[i];
    number->limbs[i] = (uint32_t)(carry % BASE);
    carry /= BASE;
  }
  if (carry == 0) return true;
  if (number->count == KF_DECIMAL_LIMBS) return false;
  number->limbs[number->count++] = (uint32_t)carry;
  return true;
}

bool kf_decimal_read(struct kf_decimal *number, const char *digits, size_t length, int32_t scale) {
  memset(number, 0, sizeof *number);
  number->scale = scale;
  while (length > 0 && *digits == '0') digits++, length--;
  if (length > KF_DECIMAL_DIGITS - 9) return false;
  for (size_t i = 0; i < length; i++)
    if (!kf_decimal_multiply(number, 10) || !add_small(number, (uint32_t)(digits[i] - '0'))) return false;
  return true;
}

void kf_decimal_set(struct kf_decimal *number, int64_t value, int32_t scale) {
  uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  memset(number, 0, sizeof *number);
  number->scale = scale;
  number->negative = value < 0;
  for (; rest > 0; rest /= BASE) number->limbs[number->count++] = (uint32_t)(rest % BASE);
}

size_t kf_decimal_digits(const struct kf_decimal *number, char out[KF_DECIMAL_DIGITS]) {
  size_t length = 0;
  for (int i = number->count; i-- > 0;) {
    uint32_t limb = number->limbs[i];
    for (uint32_t unit = BASE / 10; unit > 0; unit /= 10) {
      char digit = (char)('0' + limb / unit % 10);
      if (length > 0 || digit != '0') out[length++] = digit;
    }
  }
  if (length == 0) out[length++] = '0';
  return length;
}

// --- adding -------------------------------------------------------------------------------------------

// Brings both numbers to the smaller scale.
static bool align(struct kf_decimal *a, struct kf_decimal *b) {
  if (a->count == 0) a->scale = b->scale;
  if (b->count == 0) b->scale = a->scale;
  struct kf_decimal *larger = a->scale > b->scale ? a : b, *smaller = larger == a ? b : a;
  if ((int64_t)larger->scale - smaller->scale > KF_DECIMAL_DIGITS) return false;
  for (; larger->scale > smaller->scale; larger->scale--)
    if (!kf_decimal_multiply(larger, 10)) return false;
  return true;
}

static int compare_digits(const struct kf_decimal *a, const struct kf_decimal *b) {
  if (a->count != b->count) return a->count > b->count ? 1 : -1;
  for (int i = a->count; i-- > 0;)
    if (a->limbs[i] != b->limbs[i]) return a->limbs[i] > b->limbs[i] ? 1 : -1;
  return 0;
}

static bool add_digits(struct kf_decimal *a, const struct kf_decimal *b) {
  uint64_t carry = 0;
  for (int i = 0; i < b->count || carry > 0; i++) {
    if (i == KF_DECIMAL_LIMBS) return false;
    if (i == a->count) a->limbs[a->count++] = 0;
    carry += (uint64_t)a->limbs[i] + (i < b->count ? b->limbs[i] : 0);
    a->limbs[i] = (uint32_t)(carry % BASE);
    carry /= BASE;
  }
  return true;
}

// Takes b's digits from a's, which are not less.
static void subtract_digits(struct kf_decimal *a, const struct kf_decimal *b) {
  int64_t borrow = 0;
  for (int i = 0; i < a->count; i++) {
    int64_t limb = (int64_t)a->limbs[i] - borrow - (i < b->count ? (int64_t)b->limbs[i] : 0);
    borrow = limb < 0;
    a->limbs[i] = (uint32_t)(limb + borrow * BASE);
  }
  trim(a);
}

bool kf_decimal_add(struct kf_decimal *sum, const struct kf_decimal *a, const struct kf_decimal *b) {
  struct kf_decimal left = *a, right = *b;
  if (!align(&left, &right)) return false;
  if (left.negative == right.negative) {
    if (!add_digits(&left, &right)) return false;
    left.negative = a->count > 0 ? a->negative : b->negative;
    *sum = left;
  } else if (compare_digits(&left, &right) >= 0) {
    subtract_digits(&left, &right);
    *sum = left;
  } else {
    subtract_digits(&right, &left);
    *sum = right;
  }
  trim(sum);
  return true;
}

// How many digits stand before the decimal point.
static int64_t magnitude(const struct kf_decimal *number) {
  char digits[KF_DECIMAL_DIGITS];
  return (int64_t)kf_decimal_digits(number, digits) + number->scale;
}

int kf_decimal_compare(const struct kf_decimal *a, const struct kf_decimal *b) {
  int sign_a = a->count == 0 ? 0 : a->negative ? -1 : 1, sign_b = b->count == 0 ? 0 : b->negative ? -1 : 1;
  if (sign_a != sign_b) return sign_a > sign_b ? 1 : -1;
  if (sign_a == 0) return 0;
  int64_t left = magnitude(a), right = magnitude(b);
  if (left != right) return left > right ? sign_a : -sign_a;
  struct kf_decimal x = *a, y = *b;
  // Numbers of one magnitude differ in scale by no more than their digits, so there is room.
  if (!align(&x, &y)) return 0;
  return sign_a * compare_digits(&x, &y);
}

// --- scales -------------------------------------------------------------------------------------------

bool kf_decimal_round_up(struct kf_decimal *number, int32_t scale) {
  bool exact = true, negative = number->negative;
  for (; number->scale < scale && number->count > 0; number->scale++)
    if (kf_decimal_divide(number, 10) != 0) exact = false;
  if (number->scale < scale) number->scale = scale;
  if (!exact) {
    add_small(number, 1);
    number->negative = negative;
  }
  return exact;
}

void kf_decimal_reduce(struct kf_decimal *number) {
  while (number->count > 0 && number->limbs[0] % 10 == 0) {
    kf_decimal_divide(number, 10);
    number->scale++;
  }
}

bool kf_decimal_integer(const struct kf_decimal *number, int32_t scale, int64_t *integer) {
  struct kf_decimal rounded = *number;
  *integer = 0;
  if (number->count == 0) return true;
  kf_decimal_round_up(&rounded, scale);
  char digits[KF_DECIMAL_DIGITS];
  size_t length = kf_decimal_digits(&rounded, digits);
  if ((int64_t)length + rounded.scale - scale > 19) return false;
  uint64_t value = 0;
  for (int64_t i = 0; i < (int64_t)length + rounded.scale - scale; i++)
    value = value * 10 + (uint64_t)(i < (int64_t)length ? digits[i] - '0' : 0);
  if (value > (uint64_t)INT64_MAX + rounded.negative) return false;
  *integer = rounded.negative ? (int64_t)(0 - value) : (int64_t)value;
  return true;
}
