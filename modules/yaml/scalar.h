// What a plain YAML scalar means, by the rules of sigs.k8s.io/yaml (YAML 1.1 as go-yaml v2 has it).
#ifndef KF_YAML_SCALAR_H
#define KF_YAML_SCALAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kf_scalar_kind {
  KF_SCALAR_TEXT, KF_SCALAR_NULL, KF_SCALAR_TRUE, KF_SCALAR_FALSE, KF_SCALAR_INTEGER, KF_SCALAR_DOUBLE,
  KF_SCALAR_NOT_FINITE, KF_SCALAR_MERGE
};
struct kf_scalar {
  enum kf_scalar_kind kind;
  int64_t integer;
  double number;
};

// Resolves a plain scalar; text[size] is readable and no part of a number.
struct kf_scalar kf_scalar_resolve(const char *text, size_t size);

// Whether a text may stand plain: every reader of YAML 1.1 and 1.2 takes it for the same text.
bool kf_scalar_is_plain(const char *text, size_t size);

#endif
