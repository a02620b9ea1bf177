// Functions of texts: those of the language, of the strings extension, and regular expressions.
#include "cel.h"

#include "base/buffer.h"
#include "base/regex.h"
#include "base/utf8.h"

#include <ctype.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE(name) static struct cel_value name(struct cel_run *run, const struct cel_value *a, size_t count)

static bool are_texts(const struct cel_value *values, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (values[i].type != CEL_STRING) return false;
  return true;
}

static void spend_on(struct cel_run *run, const struct cel_value *text) {
  cel_spend(run, text->length / 10 + 1);
}

static const char *find_in(const char *at, const char *end, const struct cel_value *needle) {
  if (needle->length == 0) return at;
  return at < end ? memmem(at, (size_t)(end - at), needle->text, needle->length) : NULL;
}

// --- searching ------------------------------------------------------------------------------------------

ONE(contains) {
  (void)count;
  if (!are_texts(a, 2)) return cel_no_overload(run);
  spend_on(run, a);
  return cel_bool(find_in(a->text, a->text + a->length, a + 1) != NULL);
}

ONE(starts_with) {
  (void)count;
  if (!are_texts(a, 2)) return cel_no_overload(run);
  return cel_bool(a->length >= a[1].length && memcmp(a->text, a[1].text, a[1].length) == 0);
}

ONE(ends_with) {
  (void)count;
  if (!are_texts(a, 2)) return cel_no_overload(run);
  bool fits = a->length >= a[1].length;
  return cel_bool(fits && memcmp(a->text + a->length - a[1].length, a[1].text, a[1].length) == 0);
}

// --- characters -----------------------------------------------------------------------------------------

static int64_t characters(const char *text, size_t length) {
  int64_t count = 0;
  for (size_t i = 0; i < length; i++) count += ((unsigned char)text[i] & 0xc0) != 0x80;
  return count;
}

// The byte where character number `index` begins; the length for the one after the last; -1 beyond.
static long byte_of(const struct cel_value *text, int64_t index) {
  if (index < 0) return -1;
  size_t at = 0;
  while (at < text->length && index > 0) {
    at++;
    while (at < text->length && ((unsigned char)text->text[at] & 0xc0) == 0x80) at++;
    index--;
  }
  return index == 0 ? (long)at : -1;
}

static struct cel_value out_of_range(struct cel_run *run, int64_t index) {
  return cel_error(run, "index out of range: %I", (lua_Integer)index);
}

ONE(char_at) {
  (void)count;
  if (a->type != CEL_STRING || a[1].type != CEL_INT) return cel_no_overload(run);
  spend_on(run, a);
  long at = byte_of(a, a[1].integer);
  if (at < 0) return out_of_range(run, a[1].integer);
  if ((size_t)at == a->length) return cel_text("");
  return cel_string(a->text + at, kf_utf8_length(a->text + at, a->length - (size_t)at));
}

static struct cel_value place(const struct cel_value *text, const char *found) {
  return cel_int(found ? characters(text->text, (size_t)(found - text->text)) : -1);
}

ONE(index_of) {
  if (!are_texts(a, 2) || (count == 3 && a[2].type != CEL_INT)) return cel_no_overload(run);
  spend_on(run, a);
  long from = count == 3 ? byte_of(a, a[2].integer) : 0;
  if (from < 0) return out_of_range(run, a[2].integer);
  return place(a, find_in(a->text + from, a->text + a->length, a + 1));
}

ONE(last_index_of) {
  if (!are_texts(a, 2) || (count == 3 && a[2].type != CEL_INT)) return cel_no_overload(run);
  spend_on(run, a);
  long last = count == 3 ? byte_of(a, a[2].integer) : (long)a->length;
  if (last < 0) return out_of_range(run, a[2].integer);
  if (a[1].length > a->length) return cel_int(-1);
  if ((size_t)last > a->length - a[1].length) last = (long)(a->length - a[1].length);
  for (; last >= 0; last--)
    if (memcmp(a->text + last, a[1].text, a[1].length) == 0) return place(a, a->text + last);
  return cel_int(-1);
}

ONE(substring) {
  if (a->type != CEL_STRING || a[1].type != CEL_INT || (count == 3 && a[2].type != CEL_INT)) return cel_no_overload(run);
  spend_on(run, a);
  long from = byte_of(a, a[1].integer), to = count == 3 ? byte_of(a, a[2].integer) : (long)a->length;
  if (from < 0) return out_of_range(run, a[1].integer);
  if (to < 0) return out_of_range(run, a[2].integer);
  if (from > to)
    return cel_error(run, "invalid substring range. start: %I, end: %I", (lua_Integer)a[1].integer,
                     (lua_Integer)a[2].integer);
  return cel_string(a->text + from, (size_t)(to - from));
}

// --- changing -------------------------------------------------------------------------------------------

static struct cel_value change_case(struct cel_run *run, const struct cel_value *a, char first, char last) {
  if (a->type != CEL_STRING) return cel_no_overload(run);
  spend_on(run, a);
  struct cel_value copy = cel_copied(run, a->text, a->length);
  char *text = (char *)copy.text;
  for (size_t i = 0; i < a->length; i++)
    if (text[i] >= first && text[i] <= last) text[i] = (char)(text[i] ^ 0x20);
  return copy;
}

ONE(lower_ascii) {
  (void)count;
  return change_case(run, a, 'A', 'Z');
}

ONE(upper_ascii) {
  (void)count;
  return change_case(run, a, 'a', 'z');
}

// Text that grows in the tree.
struct writer {
  struct cel_run *run;
  char *text;
  size_t length, capacity;
};

static void put(struct writer *w, const char *text, size_t length) {
  if (length == 0 || !text) return;
  if (!w->text || w->length + length > w->capacity) {
    size_t capacity = (w->length + length) * 2 + 32;
    char *bigger = kf_tree_alloc(&w->run->tree, capacity);
    if (w->text) memcpy(bigger, w->text, w->length);
    w->text = bigger;
    w->capacity = capacity;
  }
  memcpy(w->text + w->length, text, length);
  w->length += length;
  cel_spend(w->run, length / 10);
}

static struct cel_value written(const struct writer *w) {
  return cel_string(w->text ? w->text : "", w->length);
}

ONE(replace) {
  if (!are_texts(a, 3) || (count == 4 && a[3].type != CEL_INT)) return cel_no_overload(run);
  struct writer w = {.run = run};
  int64_t left = count == 4 ? a[3].integer : -1;
  const char *at = a->text, *end = a->text + a->length;
  while (left != 0) {
    const char *found = find_in(at, end, a + 1);
    if (!found) break;
    put(&w, at, (size_t)(found - at));
    put(&w, a[2].text, a[2].length);
    at = found + a[1].length;
    left--;
    if (a[1].length > 0) continue;
    if (at == end) break;
    size_t step = kf_utf8_length(at, (size_t)(end - at));
    put(&w, at, step);  // between all characters
    at += step;
  }
  put(&w, at, (size_t)(end - at));
  return written(&w);
}

ONE(split) {
  if (!are_texts(a, 2) || (count == 3 && a[2].type != CEL_INT)) return cel_no_overload(run);
  struct cel_builder parts = {0};
  int64_t limit = count == 3 ? a[2].integer : -1;
  const char *at = a->text, *end = a->text + a->length;
  spend_on(run, a);
  if (limit == 0) return cel_finish(run, &parts);
  while (limit < 0 || (int64_t)parts.count < limit - 1) {
    const char *found = a[1].length > 0 ? find_in(at, end, a + 1)
                        : at < end      ? at + kf_utf8_length(at, (size_t)(end - at)) : NULL;
    if (!found || (a[1].length == 0 && found == end)) break;
    cel_append(run, &parts, cel_string(at, (size_t)(found - at)));
    at = found + a[1].length;
  }
  if (a[1].length > 0 || at < end) cel_append(run, &parts, cel_string(at, (size_t)(end - at)));
  return cel_finish(run, &parts);
}

ONE(join) {
  if (a->type != CEL_LIST || (count == 2 && a[1].type != CEL_STRING)) return cel_no_overload(run);
  struct writer w = {.run = run};
  for (size_t i = 0; i < a->list->count; i++) {
    struct cel_value item = cel_item(run, a->list, i);
    if (item.type != CEL_STRING) return cel_no_overload(run);
    if (i > 0 && count == 2) put(&w, a[1].text, a[1].length);
    put(&w, item.text, item.length);
  }
  return written(&w);
}

static bool is_blank(uint32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
         c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

ONE(trim) {
  (void)count;
  if (a->type != CEL_STRING) return cel_no_overload(run);
  const char *at = a->text, *end = a->text + a->length, *stop = at;
  bool begun = false;
  spend_on(run, a);
  for (const char *c = at; c < end;) {
    size_t length;
    bool blank = is_blank(kf_utf8_decode(c, &length));
    if (!blank && !begun) at = c, begun = true;
    c += length;
    if (!blank) stop = c;
  }
  return begun ? cel_string(at, (size_t)(stop - at)) : cel_text("");
}

ONE(reverse_text) {
  (void)count;
  if (a->type != CEL_STRING) return cel_no_overload(run);
  char *out = kf_tree_alloc(&run->tree, a->length + 1);
  for (size_t at = 0; at < a->length;) {
    size_t length = kf_utf8_length(a->text + at, a->length - at);
    if (length == 0) length = 1;
    memcpy(out + a->length - at - length, a->text + at, length);
    at += length;
  }
  return cel_string(out, a->length);
}

ONE(quote) {
  (void)count;
  static const char names[] = "\aa\bb\ff\nn\rr\tt\vv\\\\\"\"";
  if (a->type != CEL_STRING) return cel_no_overload(run);
  struct writer w = {.run = run};
  put(&w, "\"", 1);
  for (size_t i = 0; i < a->length; i++) {
    const char *name = a->text[i] ? strchr(names, a->text[i]) : NULL;
    bool special = name && (name - names) % 2 == 0;
    if (special) put(&w, "\\", 1);
    put(&w, special ? name + 1 : a->text + i, 1);
  }
  put(&w, "\"", 1);
  return written(&w);
}

// --- format ---------------------------------------------------------------------------------------------

static bool put_value(struct writer *w, const struct cel_value *value);

static void put_text(struct writer *w, const char *text) {
  put(w, text, strlen(text));
}

static int compare_written(const void *a, const void *b) {
  const struct cel_value *x = a, *y = b;
  int order = memcmp(x->text, y->text, x->length < y->length ? x->length : y->length);
  return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

// {a: 1, b: 2}, sorted by the texts of the keys
static bool put_map(struct writer *w, const struct cel_map *map) {
  struct cel_value *entries = kf_tree_alloc(&w->run->tree, map->count * sizeof *entries);
  for (size_t i = 0; i < map->count; i++) {
    struct writer inner = {.run = w->run};
    struct cel_value key = cel_key(w->run, map, i), value = cel_member(w->run, map, i);
    if (!put_value(&inner, &key)) return false;
    put(&inner, ": ", 2);
    if (!put_value(&inner, &value)) return false;
    entries[i] = written(&inner);
  }
  if (map->count > 1) qsort(entries, map->count, sizeof *entries, compare_written);
  put(w, "{", 1);
  for (size_t i = 0; i < map->count; i++) {
    if (i > 0) put(w, ", ", 2);
    put(w, entries[i].text, entries[i].length);
  }
  put(w, "}", 1);
  return true;
}

static bool put_value(struct writer *w, const struct cel_value *value) {
  struct cel_value text;
  if (value->type == CEL_LIST) {
    put(w, "[", 1);
    for (size_t i = 0; i < value->list->count; i++) {
      struct cel_value item = cel_item(w->run, value->list, i);
      if (i > 0) put(w, ", ", 2);
      if (!put_value(w, &item)) return false;
    }
    put(w, "]", 1);
    return true;
  }
  if (value->type == CEL_MAP) return put_map(w, value->map);
  if (value->type == CEL_BYTES) return put(w, value->text, value->length), true;
  if (value->type == CEL_DOUBLE && isinf(value->number)) {
    put_text(w, value->number > 0 ? "Infinity" : "-Infinity");
    return true;
  }
  if (!cel_write(w->run, value, &text)) return false;
  put(w, text.text, text.length);
  return true;
}

static bool put_number(struct writer *w, const struct cel_value *value, char verb, int precision) {
  char text[400];
  double number = value->type == CEL_DOUBLE ? value->number
                  : value->type == CEL_INT ? (double)value->integer : (double)value->natural;
  if (value->type != CEL_DOUBLE && value->type != CEL_INT && value->type != CEL_UINT) return false;
  if (isnan(number) || isinf(number)) {
    put_text(w, isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity");
    return true;
  }
  if (precision < 0) precision = 6;
  int length = verb == 'f' ? snprintf(text, sizeof text, "%.*f", precision, number)
                           : snprintf(text, sizeof text, "%.*e", precision, number);
  put(w, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
  return true;
}

// A number in a base of 2^bits; texts and bytes byte by byte for 16.
static bool put_base(struct writer *w, const struct cel_value *value, int bits, bool upper) {
  const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  char out[66];
  size_t at = sizeof out;
  if (bits == 4 && (value->type == CEL_STRING || value->type == CEL_BYTES)) {
    for (size_t i = 0; i < value->length; i++) {
      unsigned char c = (unsigned char)value->text[i];
      put(w, &digits[c >> 4], 1);
      put(w, &digits[c & 15], 1);
    }
    return true;
  }
  if (bits == 1 && value->type == CEL_BOOL) return put_text(w, value->boolean ? "1" : "0"), true;
  if (value->type != CEL_INT && value->type != CEL_UINT) return false;
  bool negative = value->type == CEL_INT && value->integer < 0;
  uint64_t rest = negative ? 0 - value->natural : value->natural;
  do out[--at] = digits[rest & ((1u << bits) - 1)];
  while ((rest >>= bits) > 0);
  if (negative) out[--at] = '-';
  put(w, out + at, sizeof out - at);
  return true;
}

static bool put_verb(struct writer *w, const struct cel_value *value, char verb, int precision) {
  switch (verb) {
  case 's': return put_value(w, value);
  case 'd':
    if (value->type == CEL_DOUBLE && (isnan(value->number) || isinf(value->number))) return put_value(w, value);
    return (value->type == CEL_INT || value->type == CEL_UINT) && put_value(w, value);
  case 'f':
  case 'e': return put_number(w, value, verb, precision);
  case 'b': return put_base(w, value, 1, false);
  case 'o': return put_base(w, value, 3, false);
  case 'x': return put_base(w, value, 4, false);
  default: return put_base(w, value, 4, true);
  }
}

ONE(format) {
  (void)count;
  if (a->type != CEL_STRING || a[1].type != CEL_LIST) return cel_no_overload(run);
  struct writer w = {.run = run};
  size_t used = 0;
  const char *end = a->text + a->length;
  for (const char *at = a->text; at < end; at++) {
    if (*at != '%') {
      put(&w, at, 1);
      continue;
    }
    if (++at == end) return cel_error(run, "unexpected end of string");
    if (*at == '%') {
      put(&w, at, 1);
      continue;
    }
    int precision = -1;
    if (*at == '.') {
      precision = 0;
      for (at++; at < end && isdigit((unsigned char)*at) && precision < 100; at++) precision = precision * 10 + (*at - '0');
    }
    if (at == end || !*at || !strchr("sdfeboxX", *at)) return cel_error(run, "unrecognized formatting clause");
    if (used == a[1].list->count) return cel_error(run, "index %d out of range", (int)used);
    struct cel_value value = cel_item(run, a[1].list, used++);
    if (!put_verb(&w, &value, *at, precision))
      return cel_error(run, "error during formatting: %s cannot be formatted with %%%c", cel_type_name(&value), *at);
  }
  return written(&w);
}

// --- regular expressions --------------------------------------------------------------------------------

// The compiled pattern, or NULL and the error.
static struct kf_regex *compile(struct cel_run *run, const struct cel_value *pattern, struct cel_value *problem) {
  struct kf_regex_error error;
  struct kf_regex *regex = kf_regex_compile(pattern->text, pattern->length, &error);
  if (!regex && !error.problem) luaL_error(run->tree.L, "not enough memory");
  if (!regex) *problem = cel_error(run, "invalid regular expression: %s", error.problem);
  return regex;
}

// What a search costs: by the lengths of text and pattern.
static void spend_on_search(struct cel_run *run, const struct cel_value *a) {
  cel_spend(run, (a->length / 10 + 1) * (a[1].length / 4 + 1));
}

ONE(matches) {
  (void)count;
  struct cel_value problem;
  if (!are_texts(a, 2)) return cel_no_overload(run);
  spend_on_search(run, a);
  struct kf_regex *regex = compile(run, a + 1, &problem);
  if (!regex) return problem;
  int found = kf_regex_match(regex, a->text, a->length, 0, NULL);
  kf_regex_free(regex);
  if (found < 0) luaL_error(run->tree.L, "not enough memory");
  return cel_bool(found == 1);
}

enum { MOST_GROUPS = 64 };

// Up to `limit` matches, as offsets in a list made before the pattern is compiled (nothing raises between).
static struct cel_value find_matches(struct cel_run *run, const struct cel_value *a, size_t limit, bool one) {
  struct cel_value problem;
  struct cel_builder found = {0};
  ptrdiff_t spans[2 * MOST_GROUPS];
  size_t most = limit < a->length + 1 ? limit : a->length + 1;
  struct cel_value *items = kf_tree_alloc(&run->tree, (most + 1) * sizeof *items);
  struct kf_regex *regex = compile(run, a + 1, &problem);
  if (!regex) return problem;
  int result = kf_regex_groups(regex) < MOST_GROUPS ? 1 : -1;
  for (size_t from = 0; result == 1 && found.count < most && from <= a->length;) {
    result = kf_regex_match(regex, a->text, a->length, from, spans);
    if (result != 1) break;
    items[found.count++] = cel_string(a->text + spans[0], (size_t)(spans[1] - spans[0]));
    from = (size_t)spans[1] + (spans[1] == spans[0]);
  }
  kf_regex_free(regex);
  if (result < 0) luaL_error(run->tree.L, "not enough memory");
  if (one) return found.count > 0 ? items[0] : cel_text("");
  found.items = items;
  return cel_finish(run, &found);
}

ONE(find) {
  (void)count;
  if (!are_texts(a, 2)) return cel_no_overload(run);
  spend_on_search(run, a);
  return find_matches(run, a, 1, true);
}

ONE(find_all) {
  if (!are_texts(a, 2) || (count == 3 && a[2].type != CEL_INT)) return cel_no_overload(run);
  spend_on_search(run, a);
  bool limited = count == 3 && a[2].integer >= 0;
  return find_matches(run, a, limited ? (size_t)a[2].integer : SIZE_MAX / 2, false);
}

const struct cel_entry cel_text_functions[] = {
    {"contains", 'm', 2, 2, contains}, {"startsWith", 'm', 2, 2, starts_with}, {"endsWith", 'm', 2, 2, ends_with},
    {"matches", 'b', 2, 2, matches}, {"find", 'm', 2, 2, find}, {"findAll", 'm', 2, 3, find_all},
    {"charAt", 'm', 2, 2, char_at}, {"lowerAscii", 'm', 1, 1, lower_ascii}, {"upperAscii", 'm', 1, 1, upper_ascii},
    {"replace", 'm', 3, 4, replace}, {"split", 'm', 2, 3, split}, {"substring", 'm', 2, 3, substring},
    {"join", 'm', 1, 2, join}, {"trim", 'm', 1, 1, trim}, {"strings.quote", 'g', 1, 1, quote},
    {"format", 'm', 2, 2, format}, {NULL, 0, 0, 0, NULL}};

// Names that lists have too (list.c chooses by the type).
struct cel_value cel_text_index_of(struct cel_run *run, const struct cel_value *a, size_t count, bool last);
struct cel_value cel_text_index_of(struct cel_run *run, const struct cel_value *a, size_t count, bool last) {
  return last ? last_index_of(run, a, count) : index_of(run, a, count);
}
struct cel_value cel_text_reverse(struct cel_run *run, const struct cel_value *a);
struct cel_value cel_text_reverse(struct cel_run *run, const struct cel_value *a) {
  return reverse_text(run, a, 1);
}
