// Operators and conversions.
#include "cel.h"

#include "base/number.h"
#include "base/utf8.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE(name) static struct cel_value name(struct cel_run *run, const struct cel_value *a, size_t count)

// --- arithmetic -----------------------------------------------------------------------------------------

static struct cel_value int_overflow(struct cel_run *run) {
  return cel_error(run, "integer overflow");
}

static struct cel_value uint_overflow(struct cel_run *run) {
  return cel_error(run, "unsigned integer overflow");
}

static struct cel_value duration(struct cel_run *run, bool overflow, int64_t nanoseconds) {
  if (overflow) return cel_error(run, "duration overflow");
  return (struct cel_value){.type = CEL_DURATION, .integer = nanoseconds};
}

enum { SECOND = 1000000000 };

// timestamp ± duration
static struct cel_value move_time(struct cel_run *run, const struct cel_value *time, int64_t nanoseconds, int sign) {
  __int128 total = (__int128)time->integer * SECOND + time->nanoseconds + (__int128)sign * nanoseconds;
  int64_t seconds = (int64_t)(total / SECOND);
  int32_t rest = (int32_t)(total % SECOND);
  if (rest < 0) seconds--, rest += SECOND;
  if (!cel_timestamp_is_valid(seconds)) return cel_error(run, "timestamp overflow");
  return (struct cel_value){.type = CEL_TIMESTAMP, .integer = seconds, .nanoseconds = rest};
}

static struct cel_value join(struct cel_run *run, const struct cel_value *a, const struct cel_value *b) {
  char *text = kf_tree_alloc(&run->tree, a->length + b->length + 1);
  cel_spend(run, (a->length + b->length) / 10);
  memcpy(text, a->text, a->length);
  memcpy(text + a->length, b->text, b->length);
  text[a->length + b->length] = '\0';
  struct cel_value value = cel_string(text, a->length + b->length);
  value.type = a->type;
  return value;
}

static struct cel_value join_lists(struct cel_run *run, const struct cel_list *a, const struct cel_list *b) {
  struct cel_builder items = {0};
  cel_spend(run, a->count + b->count);
  for (size_t i = 0; i < a->count; i++) cel_append(run, &items, cel_item(run, a, i));
  for (size_t i = 0; i < b->count; i++) cel_append(run, &items, cel_item(run, b, i));
  return cel_finish(run, &items);
}

ONE(op_add) {
  (void)count;
  int64_t sum;
  uint64_t natural;
  const struct cel_value *b = a + 1;
  if (a->type == CEL_TIMESTAMP && b->type == CEL_DURATION) return move_time(run, a, b->integer, 1);
  if (a->type == CEL_DURATION && b->type == CEL_TIMESTAMP) return move_time(run, b, a->integer, 1);
  if (a->type != b->type) return cel_no_overload(run);
  switch (a->type) {
  case CEL_INT: return __builtin_add_overflow(a->integer, b->integer, &sum) ? int_overflow(run) : cel_int(sum);
  case CEL_UINT:
    return __builtin_add_overflow(a->natural, b->natural, &natural) ? uint_overflow(run) : cel_uint(natural);
  case CEL_DOUBLE: return cel_double(a->number + b->number);
  case CEL_STRING:
  case CEL_BYTES: return join(run, a, b);
  case CEL_LIST: return join_lists(run, a->list, b->list);
  case CEL_DURATION: {
    bool overflow = __builtin_add_overflow(a->integer, b->integer, &sum);
    return duration(run, overflow, sum);
  }
  default: return cel_no_overload(run);
  }
}

static struct cel_value time_between(struct cel_run *run, const struct cel_value *a, const struct cel_value *b) {
  __int128 total = ((__int128)a->integer - b->integer) * SECOND + a->nanoseconds - b->nanoseconds;
  return duration(run, total > INT64_MAX || total < INT64_MIN, (int64_t)total);
}

ONE(op_subtract) {
  (void)count;
  int64_t difference;
  uint64_t natural;
  const struct cel_value *b = a + 1;
  if (a->type == CEL_TIMESTAMP && b->type == CEL_DURATION) return move_time(run, a, b->integer, -1);
  if (a->type != b->type) return cel_no_overload(run);
  switch (a->type) {
  case CEL_INT:
    return __builtin_sub_overflow(a->integer, b->integer, &difference) ? int_overflow(run) : cel_int(difference);
  case CEL_UINT:
    return __builtin_sub_overflow(a->natural, b->natural, &natural) ? uint_overflow(run) : cel_uint(natural);
  case CEL_DOUBLE: return cel_double(a->number - b->number);
  case CEL_TIMESTAMP: return time_between(run, a, b);
  case CEL_DURATION: {
    bool overflow = __builtin_sub_overflow(a->integer, b->integer, &difference);
    return duration(run, overflow, difference);
  }
  default: return cel_no_overload(run);
  }
}

ONE(op_multiply) {
  (void)count;
  int64_t product;
  uint64_t natural;
  const struct cel_value *b = a + 1;
  if (a->type != b->type) return cel_no_overload(run);
  switch (a->type) {
  case CEL_INT: return __builtin_mul_overflow(a->integer, b->integer, &product) ? int_overflow(run) : cel_int(product);
  case CEL_UINT:
    return __builtin_mul_overflow(a->natural, b->natural, &natural) ? uint_overflow(run) : cel_uint(natural);
  case CEL_DOUBLE: return cel_double(a->number * b->number);
  default: return cel_no_overload(run);
  }
}

static struct cel_value divide(struct cel_run *run, const struct cel_value *a, bool modulus) {
  const struct cel_value *b = a + 1;
  const char *zero = modulus ? "modulus by zero" : "division by zero";
  if (a->type != b->type) return cel_no_overload(run);
  if (a->type == CEL_DOUBLE && !modulus) return cel_double(a->number / b->number);
  if (a->type == CEL_UINT) {
    if (b->natural == 0) return cel_error(run, "%s", zero);
    return cel_uint(modulus ? a->natural % b->natural : a->natural / b->natural);
  }
  if (a->type != CEL_INT) return cel_no_overload(run);
  if (b->integer == 0) return cel_error(run, "%s", zero);
  if (a->integer == INT64_MIN && b->integer == -1) return int_overflow(run);
  return cel_int(modulus ? a->integer % b->integer : a->integer / b->integer);
}

ONE(op_divide) {
  (void)count;
  return divide(run, a, false);
}

ONE(op_modulus) {
  (void)count;
  return divide(run, a, true);
}

ONE(op_negate) {
  (void)count;
  if (a->type == CEL_DOUBLE) return cel_double(-a->number);
  if (a->type == CEL_INT) return a->integer == INT64_MIN ? int_overflow(run) : cel_int(-a->integer);
  if (a->type == CEL_DURATION) return duration(run, a->integer == INT64_MIN, a->integer == INT64_MIN ? 0 : -a->integer);
  return cel_no_overload(run);
}

ONE(op_not) {
  (void)count;
  return a->type == CEL_BOOL ? cel_bool(!a->boolean) : cel_no_overload(run);
}

// --- comparing ------------------------------------------------------------------------------------------

ONE(op_equal) {
  (void)count;
  return cel_bool(cel_equal(run, a, a + 1));
}

ONE(op_not_equal) {
  (void)count;
  return cel_bool(!cel_equal(run, a, a + 1));
}

// Which of -1, 0, 1 count as true: bits 1, 2, 4.
static struct cel_value ordered(struct cel_run *run, const struct cel_value *a, int accepted) {
  int order = cel_compare(a, a + 1);
  if (order == 3) return cel_no_overload(run);
  return cel_bool(order != 2 && (accepted >> (order + 1) & 1));
}

ONE(op_less) {
  (void)count;
  return ordered(run, a, 1);
}

ONE(op_less_equal) {
  (void)count;
  return ordered(run, a, 3);
}

ONE(op_greater) {
  (void)count;
  return ordered(run, a, 4);
}

ONE(op_greater_equal) {
  (void)count;
  return ordered(run, a, 6);
}

ONE(op_in) {
  (void)count;
  const struct cel_value *in = a + 1;
  struct cel_value value;
  if (in->type == CEL_MAP) return cel_bool(cel_lookup(run, in->map, a, &value));
  if (in->type != CEL_LIST) return cel_no_overload(run);
  for (size_t i = 0; i < in->list->count; i++) {
    value = cel_item(run, in->list, i);
    if (cel_equal(run, a, &value)) return cel_bool(true);
  }
  return cel_bool(false);
}

// --- size and type --------------------------------------------------------------------------------------

static size_t characters(const struct cel_value *text) {
  size_t count = 0;
  for (size_t i = 0; i < text->length; i++) count += ((unsigned char)text->text[i] & 0xc0) != 0x80;
  return count;
}

ONE(size_of) {
  (void)count;
  switch (a->type) {
  case CEL_STRING: return cel_int((int64_t)characters(a));
  case CEL_BYTES: return cel_int((int64_t)a->length);
  case CEL_LIST: return cel_int((int64_t)a->list->count);
  case CEL_MAP: return cel_int((int64_t)a->map->count);
  default: return cel_no_overload(run);
  }
}

ONE(type_of) {
  (void)count;
  (void)run;
  return cel_type_named(cel_type_name(a));
}

ONE(same_value) {
  (void)count;
  (void)run;
  return *a;
}

// --- conversions ----------------------------------------------------------------------------------------

// The text as a C string, for the readers of the C library; NULL for one that can be no number.
static const char *number_text(const struct cel_value *value, char out[64]) {
  if (value->length == 0 || value->length >= 64 || memchr(value->text, 0, value->length)) return NULL;
  if (strchr(" \t\n\r\v\f", *value->text)) return NULL;
  memcpy(out, value->text, value->length);
  out[value->length] = '\0';
  return out;
}

ONE(to_int) {
  (void)count;
  char digits[64], *end;
  switch (a->type) {
  case CEL_INT: return *a;
  case CEL_UINT: return a->natural > INT64_MAX ? int_overflow(run) : cel_int((int64_t)a->natural);
  case CEL_DOUBLE:
    if (!(a->number > -0x1p63 && a->number < 0x1p63)) return int_overflow(run);
    return cel_int((int64_t)a->number);
  case CEL_TIMESTAMP: return cel_int(a->integer);
  case CEL_DURATION: return cel_int(a->integer);
  case CEL_STRING:
    if (!number_text(a, digits)) return cel_error(run, "cannot convert text to int");
    errno = 0;
    long long value = strtoll(digits, &end, 10);
    if (*end || end == digits || errno) return cel_error(run, "cannot convert text to int");
    return cel_int(value);
  default: return cel_no_overload(run);
  }
}

ONE(to_uint) {
  (void)count;
  char digits[64], *end;
  switch (a->type) {
  case CEL_UINT: return *a;
  case CEL_INT: return a->integer < 0 ? uint_overflow(run) : cel_uint((uint64_t)a->integer);
  case CEL_DOUBLE:
    if (!(a->number >= 0 && a->number < 0x1p64)) return uint_overflow(run);
    return cel_uint((uint64_t)a->number);
  case CEL_STRING:
    if (!number_text(a, digits) || *digits == '-' || *digits == '+')
      return cel_error(run, "cannot convert text to uint");
    errno = 0;
    unsigned long long value = strtoull(digits, &end, 10);
    if (*end || end == digits || errno) return cel_error(run, "cannot convert text to uint");
    return cel_uint(value);
  default: return cel_no_overload(run);
  }
}

ONE(to_double) {
  (void)count;
  char digits[64], *end;
  switch (a->type) {
  case CEL_DOUBLE: return *a;
  case CEL_INT: return cel_double((double)a->integer);
  case CEL_UINT: return cel_double((double)a->natural);
  case CEL_STRING:
    if (!number_text(a, digits) || strpbrk(digits, "xXpP")) return cel_error(run, "cannot convert text to double");
    double value = strtod(digits, &end);
    if (*end || end == digits) return cel_error(run, "cannot convert text to double");
    return cel_double(value);
  default: return cel_no_overload(run);
  }
}

static bool is_one_of(const struct cel_value *value, const char *const *words) {
  for (; *words; words++)
    if (strlen(*words) == value->length && memcmp(*words, value->text, value->length) == 0) return true;
  return false;
}

ONE(to_bool) {
  (void)count;
  static const char *const trues[] = {"1", "t", "T", "true", "TRUE", "True", NULL};
  static const char *const falses[] = {"0", "f", "F", "false", "FALSE", "False", NULL};
  if (a->type == CEL_BOOL) return *a;
  if (a->type != CEL_STRING) return cel_no_overload(run);
  if (is_one_of(a, trues)) return cel_bool(true);
  if (is_one_of(a, falses)) return cel_bool(false);
  return cel_error(run, "Type conversion error");
}

ONE(to_bytes) {
  (void)count;
  if (a->type != CEL_BYTES && a->type != CEL_STRING) return cel_no_overload(run);
  struct cel_value value = *a;
  value.type = CEL_BYTES;
  return value;
}

// Doubles as Go prints them with 'g' and the fewest digits.
static struct cel_value double_text(struct cel_run *run, double number) {
  char text[400];
  if (isnan(number)) return cel_text("NaN");
  if (isinf(number)) return cel_text(number > 0 ? "+Inf" : "-Inf");
  int digits = 1, exponent;
  char shortest[40];
  do snprintf(shortest, sizeof shortest, "%.*e", digits - 1, number);
  while (digits++ < 17 && strtod(shortest, NULL) != number);
  exponent = atoi(strchr(shortest, 'e') + 1);
  if (exponent < -4 || exponent >= 6) return cel_copied(run, shortest, strlen(shortest));
  int decimals = digits - 2 - exponent;
  int length = snprintf(text, sizeof text, "%.*f", decimals > 0 ? decimals : 0, number);
  return cel_copied(run, text, (size_t)length);
}

static struct cel_value uint_text(struct cel_run *run, uint64_t natural) {
  char text[32];
  int length = snprintf(text, sizeof text, "%llu", (unsigned long long)natural);
  return cel_copied(run, text, (size_t)length);
}

bool cel_write(struct cel_run *run, const struct cel_value *value, struct cel_value *text) {
  char out[KF_QUANTITY_TEXT];
  switch (value->type) {
  case CEL_STRING: *text = *value; return true;
  case CEL_TYPE:
  case CEL_URL: *text = cel_string(value->text, value->length); return true;
  case CEL_NULL: *text = cel_text("null"); return true;
  case CEL_BOOL: *text = cel_text(value->boolean ? "true" : "false"); return true;
  case CEL_INT: *text = cel_copied(run, out, kf_number_write_integer(out, value->integer)); return true;
  case CEL_UINT: *text = uint_text(run, value->natural); return true;
  case CEL_DOUBLE: *text = double_text(run, value->number); return true;
  case CEL_TIMESTAMP: *text = cel_copied(run, out, cel_write_timestamp(value, out)); return true;
  case CEL_DURATION: *text = cel_copied(run, out, cel_write_duration(value, out)); return true;
  case CEL_QUANTITY: *text = cel_copied(run, out, kf_quantity_write(value->quantity, out)); return true;
  case CEL_IP:
  case CEL_CIDR:
    *text = cel_copied(run, out, cel_write_address(value->address, value->type == CEL_CIDR, out));
    return true;
  default: return false;
  }
}

ONE(to_string) {
  (void)count;
  struct cel_value text;
  if (a->type == CEL_BYTES) {
    if (kf_utf8_check(a->text, a->length) < a->length)
      return cel_error(run, "invalid UTF-8 in bytes, cannot convert to string");
    return cel_string(a->text, a->length);
  }
  bool has_text = a->type != CEL_NULL && a->type != CEL_TYPE && cel_write(run, a, &text);
  return has_text ? text : cel_no_overload(run);
}

ONE(to_duration) {
  (void)count;
  if (a->type == CEL_DURATION) return *a;
  if (a->type == CEL_INT) return duration(run, false, a->integer);
  return a->type == CEL_STRING ? cel_read_duration(run, a->text, a->length) : cel_no_overload(run);
}

ONE(to_timestamp) {
  (void)count;
  if (a->type == CEL_TIMESTAMP) return *a;
  if (a->type == CEL_INT) {
    if (!cel_timestamp_is_valid(a->integer)) return cel_error(run, "timestamp overflow");
    return (struct cel_value){.type = CEL_TIMESTAMP, .integer = a->integer};
  }
  return a->type == CEL_STRING ? cel_read_timestamp(run, a->text, a->length) : cel_no_overload(run);
}

// --- optionals ------------------------------------------------------------------------------------------

ONE(optional_none) {
  (void)a;
  (void)count;
  return cel_optional(run, NULL);
}

ONE(optional_of) {
  (void)count;
  return cel_optional(run, a);
}

static bool is_zero(const struct cel_value *value) {
  switch (value->type) {
  case CEL_NULL: return true;
  case CEL_BOOL: return !value->boolean;
  case CEL_INT:
  case CEL_UINT:
  case CEL_DURATION: return value->natural == 0;
  case CEL_DOUBLE: return value->number == 0;
  case CEL_STRING:
  case CEL_BYTES: return value->length == 0;
  case CEL_LIST: return value->list->count == 0;
  case CEL_MAP: return value->map->count == 0;
  case CEL_OPTIONAL: return !value->inner;
  default: return false;
  }
}

ONE(optional_of_non_zero) {
  (void)count;
  return cel_optional(run, is_zero(a) ? NULL : a);
}

ONE(has_value) {
  (void)count;
  return a->type == CEL_OPTIONAL ? cel_bool(a->inner != NULL) : cel_no_overload(run);
}

ONE(value_of) {
  (void)count;
  if (a->type != CEL_OPTIONAL) return cel_no_overload(run);
  return a->inner ? *a->inner : cel_error(run, "optional.none() dereference");
}

ONE(or_else) {
  (void)count;
  if (a->type != CEL_OPTIONAL || a[1].type != CEL_OPTIONAL) return cel_no_overload(run);
  return a->inner ? *a : a[1];
}

ONE(or_value) {
  (void)count;
  if (a->type != CEL_OPTIONAL) return cel_no_overload(run);
  return a->inner ? *a->inner : a[1];
}

const struct cel_entry cel_core_functions[] = {
    {"_+_", 'g', 2, 2, op_add}, {"_-_", 'g', 2, 2, op_subtract}, {"_*_", 'g', 2, 2, op_multiply},
    {"_/_", 'g', 2, 2, op_divide}, {"_%_", 'g', 2, 2, op_modulus}, {"-_", 'g', 1, 1, op_negate},
    {"!_", 'g', 1, 1, op_not}, {"_==_", 'g', 2, 2, op_equal}, {"_!=_", 'g', 2, 2, op_not_equal},
    {"_<_", 'g', 2, 2, op_less}, {"_<=_", 'g', 2, 2, op_less_equal}, {"_>_", 'g', 2, 2, op_greater},
    {"_>=_", 'g', 2, 2, op_greater_equal}, {"_in_", 'g', 2, 2, op_in}, {"size", 'b', 1, 1, size_of},
    {"type", 'g', 1, 1, type_of}, {"dyn", 'g', 1, 1, same_value}, {"int", 'g', 1, 1, to_int},
    {"uint", 'g', 1, 1, to_uint}, {"double", 'g', 1, 1, to_double}, {"bool", 'g', 1, 1, to_bool},
    {"bytes", 'g', 1, 1, to_bytes}, {"string", 'g', 1, 1, to_string}, {"duration", 'g', 1, 1, to_duration},
    {"timestamp", 'g', 1, 1, to_timestamp}, {"optional.none", 'g', 0, 0, optional_none},
    {"optional.of", 'g', 1, 1, optional_of}, {"optional.ofNonZeroValue", 'g', 1, 1, optional_of_non_zero},
    {"hasValue", 'm', 1, 1, has_value}, {"value", 'm', 1, 1, value_of}, {"or", 'm', 2, 2, or_else},
    {"orValue", 'm', 2, 2, or_value}, {NULL, 0, 0, 0, NULL}};
