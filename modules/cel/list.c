// Functions of lists and sets, and those of quantities.
#include "cel.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define ONE(name) static struct cel_value name(struct cel_run *run, const struct cel_value *a, size_t count)

static bool contains(struct cel_run *run, const struct cel_list *list, const struct cel_value *value) {
  for (size_t i = 0; i < list->count; i++) {
    struct cel_value item = cel_item(run, list, i);
    if (cel_equal(run, &item, value)) return true;
  }
  return false;
}

// --- order and sums -------------------------------------------------------------------------------------

ONE(is_sorted) {
  (void)count;
  if (a->type != CEL_LIST) return cel_no_overload(run);
  for (size_t i = 1; i < a->list->count; i++) {
    struct cel_value left = cel_item(run, a->list, i - 1), right = cel_item(run, a->list, i);
    int order = cel_compare(&left, &right);
    cel_spend(run, 1);
    if (order > 1) return cel_no_overload(run);
    if (order > 0) return cel_bool(false);
  }
  return cel_bool(true);
}

static struct cel_value extreme(struct cel_run *run, const struct cel_value *a, int sign, const char *name) {
  if (a->type != CEL_LIST) return cel_no_overload(run);
  if (a->list->count == 0) return cel_error(run, "%s called on empty list", name);
  struct cel_value best = cel_item(run, a->list, 0);
  for (size_t i = 1; i < a->list->count; i++) {
    struct cel_value item = cel_item(run, a->list, i);
    int order = cel_compare(&item, &best);
    cel_spend(run, 1);
    if (order > 1) return cel_no_overload(run);
    if (order * sign > 0) best = item;
  }
  return best;
}

ONE(min_of) {
  (void)count;
  return extreme(run, a, -1, "min");
}

ONE(max_of) {
  (void)count;
  return extreme(run, a, 1, "max");
}

static struct cel_value add(struct cel_run *run, struct cel_value a, struct cel_value b) {
  struct cel_value both[] = {a, b};
  bool known;
  return cel_find_function("_+_", 3, false, 2, &known)->function(run, both, 2);
}

ONE(sum_of) {
  (void)count;
  if (a->type != CEL_LIST) return cel_no_overload(run);
  if (a->list->count == 0) return cel_int(0);
  struct cel_value sum = cel_item(run, a->list, 0);
  if (sum.type != CEL_INT && sum.type != CEL_UINT && sum.type != CEL_DOUBLE && sum.type != CEL_DURATION)
    return cel_no_overload(run);
  for (size_t i = 1; i < a->list->count && sum.type != CEL_ERROR; i++) sum = add(run, sum, cel_item(run, a->list, i));
  return sum;
}

// --- places ---------------------------------------------------------------------------------------------

struct cel_value cel_text_index_of(struct cel_run *run, const struct cel_value *a, size_t count, bool last);
struct cel_value cel_text_reverse(struct cel_run *run, const struct cel_value *a);

static struct cel_value place(struct cel_run *run, const struct cel_value *a, size_t count, bool last) {
  if (a->type == CEL_STRING) return cel_text_index_of(run, a, count, last);
  if (a->type != CEL_LIST || count != 2) return cel_no_overload(run);
  for (size_t i = 0; i < a->list->count; i++) {
    size_t at = last ? a->list->count - 1 - i : i;
    struct cel_value item = cel_item(run, a->list, at);
    if (cel_equal(run, &item, a + 1)) return cel_int((int64_t)at);
  }
  return cel_int(-1);
}

ONE(index_of) {
  return place(run, a, count, false);
}

ONE(last_index_of) {
  return place(run, a, count, true);
}

ONE(includes) {
  (void)count;
  if (a->type == CEL_LIST) return cel_bool(contains(run, a->list, a + 1));
  return cel_bool(cel_equal(run, a, a + 1));
}

static struct cel_value end_of(struct cel_run *run, const struct cel_value *a, bool last) {
  if (a->type != CEL_LIST) return cel_no_overload(run);
  if (a->list->count == 0) return cel_optional(run, NULL);
  struct cel_value item = cel_item(run, a->list, last ? a->list->count - 1 : 0);
  return cel_optional(run, &item);
}

ONE(first_of) {
  (void)count;
  return end_of(run, a, false);
}

ONE(last_of) {
  (void)count;
  return end_of(run, a, true);
}

// --- new lists ------------------------------------------------------------------------------------------

ONE(slice) {
  (void)count;
  struct cel_builder items = {0};
  if (a->type != CEL_LIST || a[1].type != CEL_INT || a[2].type != CEL_INT) return cel_no_overload(run);
  int64_t from = a[1].integer, to = a[2].integer;
  if (from < 0 || to < 0) return cel_error(run, "cannot slice(%I, %I), negative indexes not supported",
                                           (lua_Integer)from, (lua_Integer)to);
  if (from > to) return cel_error(run, "cannot slice(%I, %I), start index must be less than or equal to end index",
                                  (lua_Integer)from, (lua_Integer)to);
  if ((size_t)to > a->list->count) return cel_error(run, "cannot slice(%I, %I), list is length %I", (lua_Integer)from,
                                                    (lua_Integer)to, (lua_Integer)a->list->count);
  for (; from < to; from++) cel_append(run, &items, cel_item(run, a->list, (size_t)from));
  return cel_finish(run, &items);
}

ONE(reverse) {
  (void)count;
  struct cel_builder items = {0};
  if (a->type == CEL_STRING) return cel_text_reverse(run, a);
  if (a->type != CEL_LIST) return cel_no_overload(run);
  for (size_t i = a->list->count; i-- > 0;) cel_append(run, &items, cel_item(run, a->list, i));
  return cel_finish(run, &items);
}

ONE(distinct) {
  (void)count;
  struct cel_builder items = {0};
  if (a->type != CEL_LIST) return cel_no_overload(run);
  for (size_t i = 0; i < a->list->count; i++) {
    struct cel_value item = cel_item(run, a->list, i);
    bool seen = false;
    for (size_t j = 0; j < items.count && !seen; j++) seen = cel_equal(run, &items.items[j], &item);
    if (!seen) cel_append(run, &items, item);
  }
  return cel_finish(run, &items);
}

static void flatten_into(struct cel_run *run, struct cel_builder *items, const struct cel_list *list, int64_t depth) {
  for (size_t i = 0; i < list->count; i++) {
    struct cel_value item = cel_item(run, list, i);
    cel_spend(run, 1);
    if (item.type == CEL_LIST && depth > 0) flatten_into(run, items, item.list, depth - 1);
    else cel_append(run, items, item);
  }
}

ONE(flatten) {
  struct cel_builder items = {0};
  if (a->type != CEL_LIST || (count == 2 && a[1].type != CEL_INT)) return cel_no_overload(run);
  if (count == 2 && a[1].integer < 0) return cel_error(run, "level must be non-negative");
  flatten_into(run, &items, a->list, count == 2 ? a[1].integer : 1);
  return cel_finish(run, &items);
}

ONE(sort) {
  (void)count;
  struct cel_builder items = {0};
  if (a->type != CEL_LIST) return cel_no_overload(run);
  for (size_t i = 0; i < a->list->count; i++) {
    cel_append(run, &items, cel_item(run, a->list, i));
    for (size_t j = i; j > 0; j--) {
      struct cel_value *left = &items.items[j - 1], *right = &items.items[j], swap = *left;
      cel_spend(run, 1);
      int order = cel_compare(left, right);
      if (order > 1 || left->type != right->type) return cel_error(run, "list elements must have the same type");
      if (order <= 0) break;
      *left = *right;
      *right = swap;
    }
  }
  return cel_finish(run, &items);
}

ONE(range) {
  (void)count;
  struct cel_builder items = {0};
  if (a->type != CEL_INT) return cel_no_overload(run);
  for (int64_t i = 0; i < a->integer; i++) {
    cel_spend(run, 1);
    cel_append(run, &items, cel_int(i));
  }
  return cel_finish(run, &items);
}

// --- sets -----------------------------------------------------------------------------------------------

static bool contains_all(struct cel_run *run, const struct cel_list *list, const struct cel_list *values) {
  for (size_t i = 0; i < values->count; i++) {
    struct cel_value value = cel_item(run, values, i);
    if (!contains(run, list, &value)) return false;
  }
  return true;
}

ONE(sets_contains) {
  (void)count;
  if (a->type != CEL_LIST || a[1].type != CEL_LIST) return cel_no_overload(run);
  return cel_bool(contains_all(run, a->list, a[1].list));
}

ONE(sets_equivalent) {
  (void)count;
  if (a->type != CEL_LIST || a[1].type != CEL_LIST) return cel_no_overload(run);
  return cel_bool(contains_all(run, a->list, a[1].list) && contains_all(run, a[1].list, a->list));
}

ONE(sets_intersects) {
  (void)count;
  if (a->type != CEL_LIST || a[1].type != CEL_LIST) return cel_no_overload(run);
  for (size_t i = 0; i < a->list->count; i++) {
    struct cel_value value = cel_item(run, a->list, i);
    if (contains(run, a[1].list, &value)) return cel_bool(true);
  }
  return cel_bool(false);
}

// --- quantities -----------------------------------------------------------------------------------------

static struct cel_value of_quantity(struct cel_run *run, const struct kf_quantity *quantity) {
  struct kf_quantity *copy = kf_tree_alloc(&run->tree, sizeof *copy);
  *copy = *quantity;
  return (struct cel_value){.type = CEL_QUANTITY, .quantity = copy};
}

ONE(to_quantity) {
  (void)count;
  struct kf_quantity quantity;
  if (a->type == CEL_QUANTITY) return *a;
  if (a->type != CEL_STRING) return cel_no_overload(run);
  const char *problem = kf_quantity_read(&quantity, a->text, a->length);
  return problem ? cel_error(run, "%s", problem) : of_quantity(run, &quantity);
}

ONE(is_quantity) {
  (void)count;
  struct kf_quantity quantity;
  if (a->type != CEL_STRING) return cel_no_overload(run);
  return cel_bool(!kf_quantity_read(&quantity, a->text, a->length));
}

static const struct kf_decimal *amount(const struct cel_value *value) {
  return &value->quantity->amount;
}

ONE(quantity_sign) {
  (void)count;
  if (a->type != CEL_QUANTITY) return cel_no_overload(run);
  return cel_int(amount(a)->count == 0 ? 0 : amount(a)->negative ? -1 : 1);
}

ONE(compare_to) {
  (void)count;
  if (a->type != CEL_QUANTITY || a[1].type != CEL_QUANTITY) return cel_no_overload(run);
  return cel_int(kf_decimal_compare(amount(a), amount(a + 1)));
}

ONE(is_greater) {
  struct cel_value order = compare_to(run, a, count);
  return order.type == CEL_ERROR ? order : cel_bool(order.integer > 0);
}

ONE(is_less) {
  struct cel_value order = compare_to(run, a, count);
  return order.type == CEL_ERROR ? order : cel_bool(order.integer < 0);
}

// An integer as Kubernetes has it: 2000m is none, because it is kept in thousandths.
static bool whole(const struct cel_value *value, int64_t *integer) {
  bool kept = amount(value)->count == 0 || (value->quantity->fast && amount(value)->scale >= 0);
  return kept && kf_decimal_integer(amount(value), 0, integer);
}

ONE(is_integer) {
  (void)count;
  int64_t integer;
  return a->type == CEL_QUANTITY ? cel_bool(whole(a, &integer)) : cel_no_overload(run);
}

ONE(as_integer) {
  (void)count;
  int64_t integer;
  if (a->type != CEL_QUANTITY) return cel_no_overload(run);
  return whole(a, &integer) ? cel_int(integer) : cel_error(run, "cannot convert value to integer");
}

ONE(as_float) {
  (void)count;
  char text[KF_DECIMAL_DIGITS + 16];
  if (a->type != CEL_QUANTITY) return cel_no_overload(run);
  size_t length = kf_decimal_digits(amount(a), text);
  lua_pushlstring(run->tree.L, text, length);
  lua_pushfstring(run->tree.L, "%s%se%d", amount(a)->negative ? "-" : "", lua_tostring(run->tree.L, -1),
                  (int)amount(a)->scale);
  double number = strtod(lua_tostring(run->tree.L, -1), NULL);
  lua_pop(run->tree.L, 2);
  return cel_double(number);
}

static struct cel_value combine(struct cel_run *run, const struct cel_value *a, bool subtract) {
  struct kf_quantity sum, other = {.format = KF_QUANTITY_SI, .fast = true};
  if (a->type != CEL_QUANTITY || (a[1].type != CEL_QUANTITY && a[1].type != CEL_INT)) return cel_no_overload(run);
  if (a[1].type == CEL_INT) kf_decimal_set(&other.amount, a[1].integer, 0);
  bool fits = kf_quantity_add(&sum, a->quantity, a[1].type == CEL_INT ? &other : a[1].quantity, subtract);
  return fits ? of_quantity(run, &sum) : cel_error(run, "quantity overflow");
}

ONE(quantity_add) {
  (void)count;
  return combine(run, a, false);
}

ONE(quantity_sub) {
  (void)count;
  return combine(run, a, true);
}

const struct cel_entry cel_list_functions[] = {
    {"isSorted", 'm', 1, 1, is_sorted}, {"sum", 'm', 1, 1, sum_of}, {"min", 'm', 1, 1, min_of},
    {"max", 'm', 1, 1, max_of}, {"indexOf", 'm', 2, 3, index_of}, {"lastIndexOf", 'm', 2, 3, last_index_of},
    {"includes", 'm', 2, 2, includes}, {"first", 'm', 1, 1, first_of}, {"last", 'm', 1, 1, last_of},
    {"slice", 'm', 3, 3, slice}, {"reverse", 'm', 1, 1, reverse}, {"distinct", 'm', 1, 1, distinct},
    {"flatten", 'm', 1, 2, flatten}, {"sort", 'm', 1, 1, sort}, {"lists.range", 'g', 1, 1, range},
    {"sets.contains", 'g', 2, 2, sets_contains}, {"sets.equivalent", 'g', 2, 2, sets_equivalent},
    {"sets.intersects", 'g', 2, 2, sets_intersects}, {"quantity", 'g', 1, 1, to_quantity},
    {"isQuantity", 'g', 1, 1, is_quantity}, {"sign", 'b', 1, 1, quantity_sign}, {"compareTo", 'm', 2, 2, compare_to},
    {"isGreaterThan", 'm', 2, 2, is_greater}, {"isLessThan", 'm', 2, 2, is_less},
    {"isInteger", 'm', 1, 1, is_integer}, {"asInteger", 'm', 1, 1, as_integer},
    {"asApproximateFloat", 'm', 1, 1, as_float}, {"add", 'm', 2, 2, quantity_add}, {"sub", 'm', 2, 2, quantity_sub},
    {NULL, 0, 0, 0, NULL}};
