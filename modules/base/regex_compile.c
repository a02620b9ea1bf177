// Compiles regular expressions: a recursive descent makes a tree, the tree makes steps.
#include "regex.h"
#include "regex_code.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

enum {
  MAX_LENGTH = 10000,
  MAX_DEPTH = 200,
  MAX_STEPS = 50000,
  MAX_REPEAT = 1000,
  HIGHEST = 0x10FFFF
};

enum kind { EMPTY, STEP, BOTH, EITHER, REPEAT, GROUP };

struct node {
  enum kind kind;
  struct kf_regex_step step;  // STEP
  int32_t left, right;        // children
  int32_t least, most;        // REPEAT; most -1: without end
  bool lazy, nullable;        // nullable: it may match nothing
  uint32_t group;
};

enum { FOLD = 1, MULTI = 2, DOT_ALL = 4, UNGREEDY = 8 };

struct compiler {
  const char *pattern;
  size_t length, at;
  unsigned flags;
  int depth;
  struct node *nodes;
  size_t count, room;
  struct kf_regex *regex;
  struct kf_regex_error *error;
  bool failed;
};

// Room for one more element of an array; false when memory is out.
static bool grow(void **array, size_t count, size_t *room, size_t size) {
  if (count < *room) return true;
  size_t wanted = *room ? *room * 2 : 16;
  void *moved = realloc(*array, wanted * size);
  if (!moved) return false;
  *array = moved;
  *room = wanted;
  return true;
}

static int32_t fail(struct compiler *c, const char *problem, size_t offset, size_t length) {
  if (!c->failed) *c->error = (struct kf_regex_error){problem, offset, length};
  c->failed = true;
  return -1;
}

static int32_t out_of_memory(struct compiler *c) { return fail(c, NULL, 0, 0); }

static bool is_nullable(const struct compiler *c, struct node node) {
  switch (node.kind) {
    case EMPTY: return true;
    case STEP: return node.step.op == KF_RE_ASSERT;
    case BOTH: return c->nodes[node.left].nullable && c->nodes[node.right].nullable;
    case EITHER: return c->nodes[node.left].nullable || c->nodes[node.right].nullable;
    case REPEAT: return node.least == 0 || c->nodes[node.left].nullable;
    case GROUP: return c->nodes[node.left].nullable;
  }
  return false;
}

static int32_t add_node(struct compiler *c, struct node node) {
  if (c->failed) return -1;
  node.nullable = is_nullable(c, node);
  if (!grow((void **)&c->nodes, c->count, &c->room, sizeof *c->nodes)) return out_of_memory(c);
  c->nodes[c->count] = node;
  return (int32_t)c->count++;
}

static int32_t add_step(struct compiler *c, enum kf_regex_op op, uint32_t x) {
  return add_node(c, (struct node){.kind = STEP, .step = {op, x, 0}});
}

static bool at_end(const struct compiler *c) { return c->at >= c->length; }

static bool looking_at(const struct compiler *c, const char *text) {
  size_t length = strlen(text);
  return c->length - c->at >= length && memcmp(c->pattern + c->at, text, length) == 0;
}

static uint32_t next_character(struct compiler *c) {
  size_t length;
  uint32_t character = kf_utf8_decode(c->pattern + c->at, &length);
  c->at += length;
  return character;
}

// --- sets ---------------------------------------------------------------------------------------

static void add_range(struct compiler *c, uint32_t low, uint32_t high) {
  struct kf_regex *r = c->regex;
  if (c->failed) return;
  if (!grow((void **)&r->ranges, r->range_count + 1, &r->range_room, sizeof *r->ranges)) {
    out_of_memory(c);
    return;
  }
  r->ranges[r->range_count++] = low;
  r->ranges[r->range_count++] = high;
}

static void add_folded(struct compiler *c, uint32_t low, uint32_t high) {
  add_range(c, low, high);
  if (!(c->flags & FOLD)) return;
  for (uint32_t k = low; k <= high && k < 128; k++) {
    if (k >= 'a' && k <= 'z') add_range(c, k - 32, k - 32);
    if (k >= 'A' && k <= 'Z') add_range(c, k + 32, k + 32);
  }
}

static int by_low(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

// Replaces the ranges from `first` on by those that are not in them.
static void negate(struct compiler *c, size_t first) {
  struct kf_regex *r = c->regex;
  if (c->failed) return;
  size_t end = r->range_count;
  size_t pairs = (end - first) / 2;
  qsort(r->ranges + first, pairs, 2 * sizeof *r->ranges, by_low);
  uint32_t low = 0;
  for (size_t i = first; i < end; i += 2) {
    uint32_t from = r->ranges[i], to = r->ranges[i + 1];
    if (from > low) add_range(c, low, from - 1);
    if (to + 1 > low) low = to + 1;
  }
  if (low <= HIGHEST) add_range(c, low, HIGHEST);
  if (c->failed) return;
  memmove(r->ranges + first, r->ranges + end, (r->range_count - end) * sizeof *r->ranges);
  r->range_count -= end - first;
}

static int32_t finish_set(struct compiler *c, size_t first) {
  struct kf_regex *r = c->regex;
  if (c->failed) return -1;
  if (!grow((void **)&r->sets, r->set_count, &r->set_room, sizeof *r->sets))
    return out_of_memory(c);
  uint32_t count = (uint32_t)(r->range_count - first);
  r->sets[r->set_count] = (struct kf_regex_set){(uint32_t)first, count};
  return add_step(c, KF_RE_SET, (uint32_t)r->set_count++);
}

static const struct {
  const char *name;
  const char *ranges;  // pairs of characters
} named_sets[] = {
    {"alnum", "09AZaz"}, {"alpha", "AZaz"},       {"ascii", "\001\177"}, {"blank", "\t\t  "},
    {"cntrl", "\001\037\177\177"}, {"digit", "09"}, {"graph", "!~"},      {"lower", "az"},
    {"print", " ~"},     {"punct", "!/:@[`{~"},   {"space", "\t\r  "},   {"upper", "AZ"},
    {"word", "09AZaz__"}, {"xdigit", "09AFaf"},
};

static void add_pairs(struct compiler *c, const char *pairs, bool inverse) {
  size_t first = c->regex->range_count;
  for (; *pairs; pairs += 2) add_folded(c, (unsigned char)pairs[0], (unsigned char)pairs[1]);
  if (inverse) negate(c, first);
}

// \d \D \s \S \w \W at the place behind the backslash; false when it is none of them.
static bool perl_set(struct compiler *c) {
  char letter = c->pattern[c->at];
  const char *pairs;
  switch (letter | 32) {
    case 'd': pairs = "09"; break;
    case 's': pairs = "\t\n\f\r  "; break;
    case 'w': pairs = "09AZaz__"; break;
    default: return false;
  }
  c->at++;
  add_pairs(c, pairs, (letter & 32) == 0);
  return true;
}

// [:alpha:] and [:^alpha:]; false when there is none.
static bool posix_set(struct compiler *c) {
  if (!looking_at(c, "[:")) return false;
  const char *name = c->pattern + c->at + 2;
  const char *end = memchr(name, ':', c->length - c->at - 2);
  if (!end || end + 1 >= c->pattern + c->length || end[1] != ']') return false;
  bool inverse = *name == '^';
  size_t length = (size_t)(end - name) - inverse;
  for (size_t i = 0; i < sizeof named_sets / sizeof *named_sets; i++) {
    if (strlen(named_sets[i].name) != length) continue;
    if (memcmp(named_sets[i].name, name + inverse, length) != 0) continue;
    c->at = (size_t)(end + 2 - c->pattern);
    add_pairs(c, named_sets[i].ranges, inverse);
    return true;
  }
  fail(c, "invalid character class range", c->at, (size_t)(end + 2 - name) + 2);
  return true;
}

// --- escapes ------------------------------------------------------------------------------------

static int hex_digit(char k) {
  if (k >= '0' && k <= '9') return k - '0';
  if ((k | 32) >= 'a' && (k | 32) <= 'f') return (k | 32) - 'a' + 10;
  return -1;
}

// \x41 and \x{1F600}, behind the x.
static bool hex_escape(struct compiler *c, uint32_t *character) {
  bool braces = !at_end(c) && c->pattern[c->at] == '{';
  size_t at = c->at + braces, most = braces ? 8 : 2, digits = 0;
  *character = 0;
  while (at < c->length && digits < most && hex_digit(c->pattern[at]) >= 0) {
    *character = *character * 16 + (uint32_t)hex_digit(c->pattern[at++]);
    digits++;
  }
  if (digits == 0 || (!braces && digits != 2) || *character > HIGHEST) return false;
  if (braces && (at >= c->length || c->pattern[at++] != '}')) return false;
  c->at = at;
  return true;
}

// The character that an escape stands for; c->at is behind the backslash.
static uint32_t escaped(struct compiler *c) {
  size_t start = c->at - 1;
  if (at_end(c)) return (uint32_t)fail(c, "trailing backslash at end of expression", c->at, 0);
  static const char names[] = "aftnrv", values[] = "\a\f\t\n\r\v";
  uint32_t character = next_character(c);
  const char *name = character && character < 128 ? strchr(names, (int)character) : NULL;
  if (name) return (unsigned char)values[name - names];
  if (character == 'x' && hex_escape(c, &character)) return character;
  if (character == '0') return 0;
  bool punctuation = character < 128 && !(character >= '0' && character <= '9') &&
                     !((character | 32) >= 'a' && (character | 32) <= 'z');
  if (punctuation) return character;
  return (uint32_t)fail(c, "invalid escape sequence", start, c->at - start);
}

// One end of a range within brackets.
static uint32_t set_character(struct compiler *c) {
  if (c->pattern[c->at] != '\\') return next_character(c);
  c->at++;
  return escaped(c);
}

static void set_member(struct compiler *c) {
  size_t start = c->at;
  if (posix_set(c)) return;
  if (c->pattern[c->at] == '\\' && c->at + 1 < c->length) {
    c->at++;
    if (perl_set(c)) return;
    c->at--;
  }
  uint32_t low = set_character(c), high = low;
  if (c->length - c->at >= 2 && c->pattern[c->at] == '-' && c->pattern[c->at + 1] != ']') {
    c->at++;
    high = set_character(c);
  }
  if (high < low) fail(c, "invalid character class range", start, c->at - start);
  if (!c->failed) add_folded(c, low, high);
}

static int32_t bracketed(struct compiler *c) {
  size_t start = c->at++, first = c->regex->range_count;
  bool inverse = !at_end(c) && c->pattern[c->at] == '^';
  if (inverse) c->at++;
  for (bool begin = true; !c->failed; begin = false) {
    if (at_end(c)) return fail(c, "missing closing ]", start, c->length - start);
    if (c->pattern[c->at] == ']' && !begin) break;
    set_member(c);
  }
  c->at++;
  if (inverse) negate(c, first);
  return finish_set(c, first);
}

static int32_t literal(struct compiler *c, uint32_t character) {
  bool letter = (character | 32) >= 'a' && (character | 32) <= 'z';
  if (!(c->flags & FOLD) || !letter) return add_step(c, KF_RE_CHAR, character);
  size_t first = c->regex->range_count;
  add_folded(c, character, character);
  return finish_set(c, first);
}

static int32_t join(struct compiler *c, enum kind kind, int32_t left, int32_t right) {
  return add_node(c, (struct node){.kind = kind, .left = left, .right = right});
}

// \Q … \E
static int32_t quoted(struct compiler *c) {
  int32_t node = add_node(c, (struct node){.kind = EMPTY});
  while (!at_end(c) && !looking_at(c, "\\E")) {
    node = join(c, BOTH, node, literal(c, next_character(c)));
  }
  if (!at_end(c)) c->at += 2;
  return node;
}

static int32_t escape(struct compiler *c) {
  size_t start = c->at++;
  if (!at_end(c)) {
    size_t first = c->regex->range_count;
    if (perl_set(c)) return finish_set(c, first);
    switch (c->pattern[c->at]) {
      case 'A': return c->at++, add_step(c, KF_RE_ASSERT, KF_RE_TEXT_BEGIN);
      case 'z': return c->at++, add_step(c, KF_RE_ASSERT, KF_RE_TEXT_END);
      case 'b': return c->at++, add_step(c, KF_RE_ASSERT, KF_RE_WORD);
      case 'B': return c->at++, add_step(c, KF_RE_ASSERT, KF_RE_NO_WORD);
      case 'Q': return c->at++, quoted(c);
      case 'p':
      case 'P': return fail(c, "unsupported character class", start, 2);
    }
  }
  uint32_t character = escaped(c);
  return c->failed ? -1 : literal(c, character);
}

// --- the tree -----------------------------------------------------------------------------------

static int32_t alternatives(struct compiler *c);

// (?P<name> and (?<name>: the name counts as correct when it is a word.
static bool name_of_group(struct compiler *c) {
  size_t at = c->at + (c->pattern[c->at] == 'P');
  if (at >= c->length || c->pattern[at] != '<') return false;
  size_t start = ++at;
  while (at < c->length && (hex_digit(c->pattern[at]) >= 0 || c->pattern[at] == '_' ||
                            ((c->pattern[at] | 32) >= 'a' && (c->pattern[at] | 32) <= 'z')))
    at++;
  if (at == start || at >= c->length || c->pattern[at] != '>') return false;
  c->at = at + 1;
  return true;
}

// The flags behind (?: true when they open a group, false when they hold for the rest of this one.
static bool group_flags(struct compiler *c, size_t start) {
  unsigned on = 0, off = 0;
  bool minus = false;
  for (; !at_end(c); c->at++) {
    static const char letters[] = "imsU";
    char k = c->pattern[c->at];
    const char *letter = k ? strchr(letters, k) : NULL;
    if (letter) *(minus ? &off : &on) |= 1U << (letter - letters);
    else if (k == '-' && !minus) minus = true;
    else if (k == ':' || k == ')') break;
    else c->at = c->length;
  }
  if (at_end(c)) {
    size_t left = c->length - start;
    fail(c, "invalid or unsupported Perl syntax", start, left < 3 ? left : 3);
    return false;
  }
  c->flags = (c->flags | on) & ~off;
  return c->pattern[c->at++] == ':';
}

static int32_t close_group(struct compiler *c, int32_t inner, unsigned flags) {
  if (c->failed) return -1;
  if (at_end(c)) return fail(c, "missing closing )", 0, c->length);
  c->at++;
  c->flags = flags;
  return inner;
}

static int32_t group(struct compiler *c) {
  size_t start = c->at++;
  unsigned flags = c->flags;
  bool capturing = true;
  if (looking_at(c, "?")) {
    c->at++;
    if (at_end(c)) return fail(c, "missing argument to repetition operator", start + 1, 1);
    capturing = name_of_group(c);
    if (!capturing && !group_flags(c, start)) return add_node(c, (struct node){.kind = EMPTY});
  }
  uint32_t index = capturing ? (uint32_t)++c->regex->groups : 0;
  if (++c->depth > MAX_DEPTH) return fail(c, "expression nests too deeply", 0, c->length);
  int32_t inner = close_group(c, alternatives(c), flags);
  c->depth--;
  if (!capturing) return inner;
  return add_node(c, (struct node){.kind = GROUP, .left = inner, .group = index});
}

static int32_t atom(struct compiler *c) {
  size_t start = c->at;
  bool lines = (c->flags & MULTI) != 0;
  switch (c->pattern[c->at]) {
    case '(': return group(c);
    case '[': return bracketed(c);
    case '\\': return escape(c);
    case '.': return c->at++, add_step(c, c->flags & DOT_ALL ? KF_RE_ANY : KF_RE_LINE, 0);
    case '^': return c->at++, add_step(c, KF_RE_ASSERT, lines ? KF_RE_LINE_BEGIN : KF_RE_TEXT_BEGIN);
    case '$': return c->at++, add_step(c, KF_RE_ASSERT, lines ? KF_RE_LINE_END : KF_RE_TEXT_END);
    case '*':
    case '+':
    case '?': return fail(c, "missing argument to repetition operator", start, 1);
  }
  return literal(c, next_character(c));
}

static bool number(const struct compiler *c, size_t *at, int32_t *value) {
  size_t start = *at;
  *value = 0;
  for (; *at < c->length && c->pattern[*at] >= '0' && c->pattern[*at] <= '9'; ++*at) {
    if (*value <= MAX_REPEAT) *value = *value * 10 + (c->pattern[*at] - '0');
  }
  return *at > start;
}

// {n}, {n,}, {n,m}; anything else in braces is plain text.
static bool counted(struct compiler *c, int32_t *least, int32_t *most) {
  size_t at = c->at + 1;
  if (!number(c, &at, least)) return false;
  *most = *least;
  if (at < c->length && c->pattern[at] == ',') {
    at++;
    if (!number(c, &at, most)) *most = -1;
  }
  if (at >= c->length || c->pattern[at] != '}') return false;
  if (*least > MAX_REPEAT || *most > MAX_REPEAT || (*most >= 0 && *least > *most))
    fail(c, "invalid repeat count", c->at, at + 1 - c->at);
  c->at = at + 1;
  return true;
}

static bool repetition(struct compiler *c, int32_t *least, int32_t *most) {
  if (at_end(c)) return false;
  switch (c->pattern[c->at]) {
    case '*': *least = 0, *most = -1; break;
    case '+': *least = 1, *most = -1; break;
    case '?': *least = 0, *most = 1; break;
    case '{': return counted(c, least, most);
    default: return false;
  }
  c->at++;
  return true;
}

static int32_t repeated(struct compiler *c) {
  int32_t node = atom(c), least, most;
  size_t before = c->at;
  if (c->failed || !repetition(c, &least, &most)) return node;
  bool lazy = looking_at(c, "?");
  if (lazy) c->at++;
  size_t first = before;
  before = c->at;
  node = add_node(c, (struct node){.kind = REPEAT, .left = node, .least = least, .most = most,
                                   .lazy = lazy != ((c->flags & UNGREEDY) != 0)});
  if (!c->failed && repetition(c, &least, &most))
    return fail(c, "invalid nested repetition operator", first, c->at - first);
  c->at = before;
  return node;
}

static int32_t sequence(struct compiler *c) {
  int32_t node = add_node(c, (struct node){.kind = EMPTY});
  while (!c->failed && !at_end(c) && c->pattern[c->at] != '|' && c->pattern[c->at] != ')')
    node = join(c, BOTH, node, repeated(c));
  return node;
}

static int32_t alternatives(struct compiler *c) {
  int32_t node = sequence(c);
  while (!c->failed && !at_end(c) && c->pattern[c->at] == '|') {
    c->at++;
    node = join(c, EITHER, node, sequence(c));
  }
  return node;
}

// --- the steps ----------------------------------------------------------------------------------

static size_t emit(struct compiler *c, enum kf_regex_op op, size_t x, size_t y) {
  struct kf_regex *r = c->regex;
  if (r->step_count >= MAX_STEPS) fail(c, "expression too large", 0, c->length);
  if (!c->failed && !grow((void **)&r->steps, r->step_count, &r->step_room, sizeof *r->steps))
    out_of_memory(c);
  if (c->failed) return 0;
  r->steps[r->step_count] = (struct kf_regex_step){op, (uint32_t)x, (uint32_t)y};
  return r->step_count++;
}

static void emit_node(struct compiler *c, int32_t index);

// Where a split goes when it takes its part, and when it does not.
static void aim(struct compiler *c, size_t split, size_t inside, size_t outside, bool lazy) {
  if (c->failed) return;
  c->regex->steps[split].x = (uint32_t)(lazy ? outside : inside);
  c->regex->steps[split].y = (uint32_t)(lazy ? inside : outside);
}

// At least once. Of something that may match nothing, one more round is no way to begin anew.
static void emit_plus(struct compiler *c, const struct node *node) {
  size_t start = c->regex->step_count;
  emit_node(c, node->left);
  size_t split = emit(c, KF_RE_SPLIT, 0, 0);
  aim(c, split, start, split + 1, node->lazy);
}

static void emit_star(struct compiler *c, const struct node *node) {
  size_t split = emit(c, KF_RE_SPLIT, 0, 0);
  if (c->failed) return;
  if (c->nodes[node->left].nullable) {
    emit_plus(c, node);
  } else {
    emit_node(c, node->left);
    emit(c, KF_RE_JUMP, split, 0);
  }
  aim(c, split, split + 1, c->regex->step_count, node->lazy);
}

static void emit_maybe(struct compiler *c, const struct node *node, int32_t times) {
  if (times == 0 || c->failed) return;
  size_t split = emit(c, KF_RE_SPLIT, 0, 0);
  emit_node(c, node->left);
  emit_maybe(c, node, times - 1);
  aim(c, split, split + 1, c->regex->step_count, node->lazy);
}

static void emit_repeat(struct compiler *c, const struct node *node) {
  bool endless = node->most < 0;
  for (int32_t i = 0; i < node->least - endless && !c->failed; i++) emit_node(c, node->left);
  if (!endless) emit_maybe(c, node, node->most - node->least);
  else if (node->least > 0) emit_plus(c, node);
  else emit_star(c, node);
}

static void emit_either(struct compiler *c, const struct node *node) {
  size_t split = emit(c, KF_RE_SPLIT, 0, 0);
  emit_node(c, node->left);
  size_t jump = emit(c, KF_RE_JUMP, 0, 0);
  aim(c, split, split + 1, c->regex->step_count, false);
  emit_node(c, node->right);
  if (!c->failed) c->regex->steps[jump].x = (uint32_t)c->regex->step_count;
}

static void emit_node(struct compiler *c, int32_t index) {
  if (c->failed) return;
  const struct node *node = c->nodes + index;
  switch (node->kind) {
    case EMPTY: break;
    case STEP: emit(c, node->step.op, node->step.x, 0); break;
    case BOTH:
      emit_node(c, node->left);
      emit_node(c, node->right);
      break;
    case EITHER: emit_either(c, node); break;
    case REPEAT: emit_repeat(c, node); break;
    case GROUP:
      emit(c, KF_RE_SAVE, 2 * (size_t)node->group, 0);
      emit_node(c, node->left);
      emit(c, KF_RE_SAVE, 2 * (size_t)node->group + 1, 0);
      break;
  }
}

static void compile(struct compiler *c) {
  if (kf_utf8_check(c->pattern, c->length) != c->length) {
    fail(c, "invalid UTF-8", 0, c->length);
    return;
  }
  if (c->length > MAX_LENGTH) {
    fail(c, "expression too large", 0, 40);
    return;
  }
  int32_t root = alternatives(c);
  if (!c->failed && !at_end(c)) fail(c, "unexpected )", 0, c->length);
  emit(c, KF_RE_SAVE, 0, 0);
  emit_node(c, root);
  emit(c, KF_RE_SAVE, 1, 0);
  emit(c, KF_RE_MATCH, 0, 0);
}

struct kf_regex *kf_regex_compile(const char *pattern, size_t length,
                                  struct kf_regex_error *error) {
  struct compiler c = {.pattern = pattern, .length = length, .error = error};
  *error = (struct kf_regex_error){0};
  c.regex = calloc(1, sizeof *c.regex);
  if (!c.regex) return NULL;
  compile(&c);
  free(c.nodes);
  if (!c.failed) return c.regex;
  kf_regex_free(c.regex);
  return NULL;
}

void kf_regex_free(struct kf_regex *regex) {
  if (!regex) return;
  free(regex->steps);
  free(regex->sets);
  free(regex->ranges);
  free(regex);
}

size_t kf_regex_groups(const struct kf_regex *regex) { return regex->groups; }
