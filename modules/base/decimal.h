// Exact decimal numbers of up to 432 digits: ±digits × 10^scale. Functions that may need more room
// return false and leave the result undefined.
#ifndef KF_BASE_DECIMAL_H
#define KF_BASE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KF_DECIMAL_LIMBS = 48, KF_DECIMAL_DIGITS = 9 * KF_DECIMAL_LIMBS };

struct kf_decimal {
  bool negative;
  int32_t scale;
  int count;                         // limbs in use; 0 is zero
  uint32_t limbs[KF_DECIMAL_LIMBS];  // base 10^9, the lowest first
};

// From decimal digits only.
bool kf_decimal_read(struct kf_decimal *number, const char *digits, size_t length, int32_t scale);
void kf_decimal_set(struct kf_decimal *number, int64_t value, int32_t scale);

// Writes the digits (without sign and scale; "0" for zero), at most KF_DECIMAL_DIGITS; returns how many.
size_t kf_decimal_digits(const struct kf_decimal *number, char out[KF_DECIMAL_DIGITS]);

bool kf_decimal_add(struct kf_decimal *sum, const struct kf_decimal *a, const struct kf_decimal *b);
int kf_decimal_compare(const struct kf_decimal *a, const struct kf_decimal *b);
bool kf_decimal_multiply(struct kf_decimal *number, uint32_t factor);
// Divides the digits and gives the remainder; the scale stays.
uint32_t kf_decimal_divide(struct kf_decimal *number, uint32_t divisor);

// Makes the scale at least `scale`, rounding away from zero; true when nothing was lost.
bool kf_decimal_round_up(struct kf_decimal *number, int32_t scale);
// Takes all factors of ten out of the digits into the scale.
void kf_decimal_reduce(struct kf_decimal *number);

// The number × 10^-scale, rounded away from zero; false when it does not fit.
bool kf_decimal_integer(const struct kf_decimal *number, int32_t scale, int64_t *integer);

#endif
