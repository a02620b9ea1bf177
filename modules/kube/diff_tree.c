// The operations that make one tree of another. Lists are aligned so that the operations are as small as
// can be; what is too large for that is compared item by item.
#include "diff.h"

#include <string.h>

enum { WORK_LIMIT = 2000000 };  // comparisons of nodes that alignment may take

// --- costs: one for an operation, and one for each value it carries ----------------------------------------

static size_t leaves(struct differ *d, const struct kf_node *node) {
  size_t sum = 1;
  d->work++;
  for (size_t i = 0; node->kind == KF_LIST && i < node->count; i++) sum += leaves(d, node->items[i]);
  for (size_t i = 0; node->kind == KF_MAP && i < node->count; i++) sum += leaves(d, node->members[i].value);
  return sum;
}

static size_t cost(struct differ *d, const struct kf_node *a, const struct kf_node *b);

static int order(const struct kf_member *a, const struct kf_member *b) {
  int first = memcmp(a->key, b->key, a->length < b->length ? a->length : b->length);
  return first != 0 ? first : (a->length > b->length) - (a->length < b->length);
}

static size_t map_cost(struct differ *d, const struct kf_node *a, const struct kf_node *b) {
  size_t sum = 0, i = 0, j = 0;
  while (i < a->count || j < b->count) {
    int which = i == a->count ? 1 : j == b->count ? -1 : order(&a->members[i], &b->members[j]);
    if (which < 0) sum++;
    else if (which > 0) sum += 1 + leaves(d, b->members[j].value);
    else sum += cost(d, a->members[i].value, b->members[j].value);
    i += which <= 0;
    j += which >= 0;
  }
  return sum;
}

// How two lists are aligned: from `start` on, `rows` items of a and `columns` of b differ; least[i][j]
// is the cost of making the rest of b from j on of the rest of a from i on.
struct alignment {
  size_t start, rows, columns;
  size_t *least;
};

static size_t *cell(const struct alignment *lists, size_t i, size_t j) {
  return &lists->least[i * (lists->columns + 1) + j];
}

static struct alignment trim(const struct kf_node *a, const struct kf_node *b) {
  struct alignment lists = {.rows = a->count, .columns = b->count};
  size_t shorter = a->count < b->count ? a->count : b->count;
  while (lists.start < shorter && kf_node_equal(a->items[lists.start], b->items[lists.start])) lists.start++;
  lists.rows -= lists.start;
  lists.columns -= lists.start;
  while (lists.rows > 0 && lists.columns > 0 &&
         kf_node_equal(a->items[lists.start + lists.rows - 1], b->items[lists.start + lists.columns - 1])) {
    lists.rows--;
    lists.columns--;
  }
  return lists;
}

// The name of an item, as most items of lists in Kubernetes have one; NULL without.
static const struct kf_node *name_of(const struct kf_node *item) {
  for (size_t i = 0; item->kind == KF_MAP && i < item->count; i++) {
    const struct kf_member *member = &item->members[i];
    if (member->length == 4 && memcmp(member->key, "name", 4) == 0) return member->value;
  }
  return NULL;
}

// Whether the items that differ have the same names in the same order: then there is nothing to align.
static bool are_named_alike(const struct alignment *lists, const struct kf_node *a, const struct kf_node *b) {
  if (lists->rows != lists->columns) return false;
  for (size_t i = 0; i < lists->rows; i++) {
    const struct kf_node *one = name_of(a->items[lists->start + i]);
    const struct kf_node *other = name_of(b->items[lists->start + i]);
    if (!one || !other || !kf_node_equal(one, other)) return false;
  }
  return true;
}

static size_t add_cost(struct differ *d, const struct alignment *lists, const struct kf_node *b, size_t j) {
  return 1 + leaves(d, b->items[lists->start + j]);
}

static size_t pair_cost(struct differ *d, const struct alignment *lists, const struct kf_node *a,
                        const struct kf_node *b, size_t i, size_t j) {
  return cost(d, a->items[lists->start + i], b->items[lists->start + j]);
}

// Fills the table, when the work allowed suffices.
static void align(struct differ *d, struct alignment *lists, const struct kf_node *a, const struct kf_node *b) {
  size_t rows = lists->rows, columns = lists->columns;
  if (rows == 0 || columns == 0 || rows * columns > WORK_LIMIT / 4 || d->work > WORK_LIMIT) return;
  lists->least = kf_tree_alloc(&d->tree, (rows + 1) * (columns + 1) * sizeof *lists->least);
  for (size_t i = 0; i <= rows; i++) *cell(lists, i, columns) = rows - i;
  for (size_t j = columns; j-- > 0;) *cell(lists, rows, j) = *cell(lists, rows, j + 1) + add_cost(d, lists, b, j);
  for (size_t i = rows; i-- > 0;) {
    for (size_t j = columns; j-- > 0;) {
      size_t least = *cell(lists, i + 1, j + 1) + pair_cost(d, lists, a, b, i, j);
      size_t removed = *cell(lists, i + 1, j) + 1;
      size_t added = *cell(lists, i, j + 1) + add_cost(d, lists, b, j);
      if (removed < least) least = removed;
      if (added < least) least = added;
      *cell(lists, i, j) = least;
      if (++d->work > WORK_LIMIT) {
        lists->least = NULL;
        return;
      }
    }
  }
}

static size_t named_cost(struct differ *d, const struct alignment *lists, const struct kf_node *a,
                         const struct kf_node *b) {
  size_t sum = 0;
  for (size_t i = 0; i < lists->rows; i++) sum += pair_cost(d, lists, a, b, i, i);
  return sum;
}

static size_t list_cost(struct differ *d, const struct kf_node *a, const struct kf_node *b) {
  struct alignment lists = trim(a, b);
  if (are_named_alike(&lists, a, b)) return named_cost(d, &lists, a, b);
  align(d, &lists, a, b);
  if (lists.least) return *cell(&lists, 0, 0);
  size_t sum = lists.rows;
  for (size_t j = 0; j < lists.columns; j++) sum += add_cost(d, &lists, b, j);
  return sum;
}

static size_t cost(struct differ *d, const struct kf_node *a, const struct kf_node *b) {
  d->work++;
  if (kf_node_equal(a, b)) return 0;
  if (d->work <= WORK_LIMIT) {
    if (a->kind == KF_MAP && b->kind == KF_MAP) return map_cost(d, a, b);
    if (a->kind == KF_LIST && b->kind == KF_LIST) return list_cost(d, a, b);
  }
  return 1 + leaves(d, b);
}

// --- the operations ---------------------------------------------------------------------------------------

static void compare_maps(struct differ *d, const struct kf_node *a, const struct kf_node *b) {
  size_t length = d->length, i = 0, j = 0;
  while (i < a->count || j < b->count) {
    int which = i == a->count ? 1 : j == b->count ? -1 : order(&a->members[i], &b->members[j]);
    const struct kf_member *member = which <= 0 ? &a->members[i] : &b->members[j];
    kf_diff_key(d, member->key, member->length);
    if (which < 0) kf_diff_emit(d, "remove", NULL);
    else if (which > 0) kf_diff_emit(d, "add", member->value);
    else kf_diff_trees(d, member->value, b->members[j].value);
    d->length = length;
    i += which <= 0;
    j += which >= 0;
  }
}

// What to do next with the rests of two lists: -1 remove, 1 add, 0 compare the first items.
static int next_step(struct differ *d, const struct alignment *lists, const struct kf_node *a,
                     const struct kf_node *b, size_t i, size_t j) {
  if (i == lists->rows) return 1;
  if (j == lists->columns) return -1;
  if (!lists->least) return 0;
  size_t least = *cell(lists, i, j);
  if (least == *cell(lists, i + 1, j + 1) + pair_cost(d, lists, a, b, i, j)) return 0;
  return least == *cell(lists, i + 1, j) + 1 ? -1 : 1;
}

void kf_diff_lists(struct differ *d, const struct kf_node *a, const struct kf_node *b) {
  size_t length = d->length, i = 0, j = 0;
  struct alignment lists = trim(a, b);
  if (!are_named_alike(&lists, a, b)) align(d, &lists, a, b);
  // What is left over of a longer list goes from its end, so that no index moves.
  while (i < lists.rows || j < lists.columns) {
    int step = next_step(d, &lists, a, b, i, j);
    kf_diff_index(d, lists.start + j + (j == lists.columns ? lists.rows - i - 1 : 0));
    if (step < 0) kf_diff_emit(d, "remove", NULL);
    else if (step > 0) kf_diff_emit(d, "add", b->items[lists.start + j]);
    else kf_diff_trees(d, a->items[lists.start + i], b->items[lists.start + j]);
    d->length = length;
    i += step <= 0;
    j += step >= 0;
  }
}

void kf_diff_trees(struct differ *d, const struct kf_node *a, const struct kf_node *b) {
  if (kf_node_equal(a, b)) return;
  if (a->kind == KF_MAP && b->kind == KF_MAP) compare_maps(d, a, b);
  else if (a->kind == KF_LIST && b->kind == KF_LIST) kf_diff_lists(d, a, b);
  else kf_diff_emit(d, "replace", b);
}
