// Runs regular expressions: all threads step through the text together, in the order in which they
// are preferred, so that no text takes more than steps × characters.
#include "regex.h"
#include "regex_code.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

// Threads in order of preference; each has its slots. A step is in at most once.
struct list {
  uint32_t *steps;
  ptrdiff_t *slots;
  uint32_t *place;  // of a step in `steps`, valid when steps[place] is it
  size_t count;
};

struct frame {
  uint32_t step;
  int32_t slot;  // -1, or a slot to set back
  ptrdiff_t before;
};

struct machine {
  const struct kf_regex *regex;
  const char *text;
  size_t length, slot_count;
  struct list now, next;
  struct frame *stack;
  ptrdiff_t *slots;  // of the thread that is being added
};

static bool is_word(const struct machine *m, size_t at) {
  if (at >= m->length) return false;
  char k = m->text[at];
  return k == '_' || (k >= '0' && k <= '9') || ((k | 32) >= 'a' && (k | 32) <= 'z');
}

static bool holds(const struct machine *m, uint32_t assertion, size_t at) {
  bool boundary = (at > 0 && is_word(m, at - 1)) != is_word(m, at);
  switch ((enum kf_regex_assert)assertion) {
    case KF_RE_TEXT_BEGIN: return at == 0;
    case KF_RE_TEXT_END: return at == m->length;
    case KF_RE_LINE_BEGIN: return at == 0 || m->text[at - 1] == '\n';
    case KF_RE_LINE_END: return at == m->length || m->text[at] == '\n';
    case KF_RE_WORD: return boundary;
    case KF_RE_NO_WORD: return !boundary;
  }
  return false;
}

static bool seen(const struct list *list, uint32_t step) {
  uint32_t place = list->place[step];
  return place < list->count && list->steps[place] == step;
}

static void put(const struct machine *m, struct list *list, uint32_t step) {
  list->place[step] = (uint32_t)list->count;
  list->steps[list->count] = step;
  memcpy(list->slots + list->count * m->slot_count, m->slots, m->slot_count * sizeof *m->slots);
  list->count++;
}

// Adds a step and all that follow from it without reading.
static void add(struct machine *m, struct list *list, uint32_t first, size_t at) {
  size_t depth = 0;
  m->stack[depth++] = (struct frame){first, -1, 0};
  while (depth > 0) {
    struct frame frame = m->stack[--depth];
    if (frame.slot >= 0) {
      m->slots[frame.slot] = frame.before;
      continue;
    }
    if (seen(list, frame.step)) continue;
    put(m, list, frame.step);
    struct kf_regex_step step = m->regex->steps[frame.step];
    switch (step.op) {
      case KF_RE_JUMP: m->stack[depth++] = (struct frame){step.x, -1, 0}; break;
      case KF_RE_SPLIT:
        m->stack[depth++] = (struct frame){step.y, -1, 0};
        m->stack[depth++] = (struct frame){step.x, -1, 0};
        break;
      case KF_RE_SAVE:
        m->stack[depth++] = (struct frame){0, (int32_t)step.x, m->slots[step.x]};
        m->slots[step.x] = (ptrdiff_t)at;
        m->stack[depth++] = (struct frame){frame.step + 1, -1, 0};
        break;
      case KF_RE_ASSERT:
        if (holds(m, step.x, at)) m->stack[depth++] = (struct frame){frame.step + 1, -1, 0};
        break;
      default: break;
    }
  }
}

static bool in_set(const struct kf_regex *regex, uint32_t index, uint32_t character) {
  struct kf_regex_set set = regex->sets[index];
  for (uint32_t i = set.first; i < set.first + set.count; i += 2) {
    if (character >= regex->ranges[i] && character <= regex->ranges[i + 1]) return true;
  }
  return false;
}

// What stands for the character behind the end: nothing reads it.
#define PAST_END UINT32_MAX

static bool reads(const struct kf_regex *regex, struct kf_regex_step step, uint32_t character) {
  if (character == PAST_END) return false;
  switch (step.op) {
    case KF_RE_CHAR: return step.x == character;
    case KF_RE_SET: return in_set(regex, step.x, character);
    case KF_RE_ANY: return true;
    case KF_RE_LINE: return character != '\n';
    default: return false;
  }
}

// Steps all threads over one character; true when a match was found: those behind it are dropped.
static bool step_all(struct machine *m, uint32_t character, size_t at, ptrdiff_t *found) {
  for (size_t i = 0; i < m->now.count; i++) {
    struct kf_regex_step step = m->regex->steps[m->now.steps[i]];
    const ptrdiff_t *slots = m->now.slots + i * m->slot_count;
    if (step.op == KF_RE_MATCH) {
      memcpy(found, slots, m->slot_count * sizeof *found);
      return true;
    }
    if (!reads(m->regex, step, character)) continue;
    memcpy(m->slots, slots, m->slot_count * sizeof *m->slots);
    add(m, &m->next, m->now.steps[i] + 1, at);
  }
  return false;
}

// A malformed byte counts as one character that nothing names.
static uint32_t character_at(const struct machine *m, size_t at, size_t *length) {
  *length = kf_utf8_length(m->text + at, m->length - at);
  if (*length > 0) return kf_utf8_decode(m->text + at, length);
  *length = 1;
  return 0xFFFD;
}

static bool run(struct machine *m, size_t from, ptrdiff_t *found) {
  bool matched = false;
  for (size_t at = from; at <= m->length;) {
    if (!matched) {
      for (size_t i = 0; i < m->slot_count; i++) m->slots[i] = -1;
      add(m, &m->now, 0, at);
    } else if (m->now.count == 0) break;
    size_t length = 1;
    uint32_t character = at < m->length ? character_at(m, at, &length) : PAST_END;
    m->next.count = 0;
    if (step_all(m, character, at + length, found)) matched = true;
    struct list read = m->now;
    m->now = m->next;
    m->next = read;
    at += length;
  }
  return matched;
}

static bool make_list(struct list *list, size_t steps, size_t slots) {
  list->steps = malloc(steps * sizeof *list->steps);
  list->slots = malloc(steps * slots * sizeof *list->slots);
  list->place = calloc(steps, sizeof *list->place);
  return list->steps && list->slots && list->place;
}

static void free_list(struct list *list) {
  free(list->steps);
  free(list->slots);
  free(list->place);
}

int kf_regex_match(const struct kf_regex *regex, const char *text, size_t length, size_t from,
                   ptrdiff_t *spans) {
  struct machine m = {.regex = regex, .text = text, .length = length};
  m.slot_count = 2 * (regex->groups + 1);
  m.stack = malloc((2 * regex->step_count + 2) * sizeof *m.stack);
  m.slots = malloc(2 * m.slot_count * sizeof *m.slots);
  bool made = make_list(&m.now, regex->step_count, m.slot_count);
  made = make_list(&m.next, regex->step_count, m.slot_count) && made && m.stack && m.slots;
  int result = -1;
  if (made) {
    ptrdiff_t *found = m.slots + m.slot_count;
    result = run(&m, from, found);
    if (result == 1 && spans) memcpy(spans, found, m.slot_count * sizeof *spans);
  }
  free_list(&m.now);
  free_list(&m.next);
  free(m.stack);
  free(m.slots);
  return result;
}
