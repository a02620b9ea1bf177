// Quantities of Kubernetes ("1500m", "1.5Gi", "12e6"): exact, and printed as Kubernetes prints them.
#ifndef KF_BASE_QUANTITY_H
#define KF_BASE_QUANTITY_H

#include "base/decimal.h"

enum kf_quantity_format { KF_QUANTITY_SI, KF_QUANTITY_BINARY, KF_QUANTITY_EXPONENT };
enum { KF_QUANTITY_TEXT = KF_DECIMAL_DIGITS + 24, KF_QUANTITY_KEPT = 40 };

struct kf_quantity {
  struct kf_decimal amount;
  enum kf_quantity_format format;
  bool fast;                     // what Kubernetes keeps in an int64
  char kept[KF_QUANTITY_KEPT];   // the text it was read from, where that is what is printed
};

// NULL, or why the text is no quantity.
const char *kf_quantity_read(struct kf_quantity *quantity, const char *text, size_t length);

// Writes the canonical text with a \0; returns its length.
size_t kf_quantity_write(const struct kf_quantity *quantity, char out[KF_QUANTITY_TEXT]);

// a + b or a - b, in the format of a (of b when a is zero); false when there are too many digits.
bool kf_quantity_add(struct kf_quantity *sum, const struct kf_quantity *a, const struct kf_quantity *b, bool subtract);

#endif
