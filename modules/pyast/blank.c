// Magics: a line is one only where a statement may begin: not inside a string or brackets, and not
// after a backslash. So the source is scanned as Python's tokenizer does, for those three alone.
#include "blank.h"

#include <ctype.h>
#include <string.h>

const char *const kf_magic_names[] = {"line", "cell", "shell", "help", "line", "shell"};

struct scanner {
  const char *at, *end, *source;
  int brackets;
  size_t line;
};

static bool is_name_char(char c) {
  return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static const char *line_end(const struct scanner *s, const char *at) {
  const char *newline = memchr(at, '\n', (size_t)(s->end - at));
  return newline ? newline : s->end;
}

// Passes a string whose opening quote is at s->at. A string of one line ends with it, closed or not.
static void skip_string(struct scanner *s) {
  char quote = *s->at;
  bool triple = s->end - s->at >= 3 && s->at[1] == quote && s->at[2] == quote;
  s->at += triple ? 3 : 1;
  while (s->at < s->end) {
    if (*s->at == '\\' && s->end - s->at > 1) {
      s->line += s->at[1] == '\n';
      s->at += 2;
    } else if (*s->at == '\n') {
      if (!triple) return;
      s->line++;
      s->at++;
    } else if (*s->at == quote && (!triple || (s->end - s->at >= 3 && s->at[1] == quote && s->at[2] == quote))) {
      s->at += triple ? 3 : 1;
      return;
    } else {
      s->at++;
    }
  }
}

// Passes one logical line, with its last newline.
static void skip_statement(struct scanner *s) {
  while (s->at < s->end) {
    char c = *s->at;
    if (c == '"' || c == '\'') {
      skip_string(s);
      continue;
    }
    if (c == '#') {
      s->at = line_end(s, s->at);
      continue;
    }
    if (c == '(' || c == '[' || c == '{') s->brackets++;
    if ((c == ')' || c == ']' || c == '}') && s->brackets > 0) s->brackets--;
    if (c == '\\' && s->end - s->at > 1 && s->at[1] == '\n') {
      s->line++;
      s->at += 2;
      continue;
    }
    s->at++;
    if (c != '\n') continue;
    s->line++;
    if (s->brackets == 0) return;
  }
}

// The end of a magic that begins at `at`: its line, and those that a backslash joins to it.
static const char *magic_end(const struct scanner *s, const char *at) {
  const char *end = line_end(s, at);
  while (end < s->end && end > at && end[-1] == '\\') end = line_end(s, end + 1);
  return end;
}

// `name = %magic` or `name = !command`: where the magic begins, with the end of what is assigned.
static const char *assigned_magic(const struct scanner *s, const char *at, const char **target_end) {
  const char *end = line_end(s, at);
  const char *equals = at;
  while (equals < end && (is_name_char(*equals) || strchr(" \t,.*()", *equals))) equals++;
  if (equals == at || equals >= end || *equals != '=') return NULL;
  const char *value = equals + 1;
  while (value < end && (*value == ' ' || *value == '\t')) value++;
  if (value >= end || (*value != '%' && *value != '!') || (value + 1 < end && value[1] == '=')) return NULL;
  *target_end = equals;
  while (*target_end > at && isspace((unsigned char)(*target_end)[-1])) --*target_end;
  return value;
}

// `obj?` or `obj??`: a line that ends in a question mark, outside of comments and strings.
static bool asks_help(const char *at, const char *end) {
  while (end > at && isspace((unsigned char)end[-1])) end--;
  if (end == at || end[-1] != '?') return false;
  while (end > at && end[-1] == '?') end--;
  for (const char *c = at; c < end; c++)
    if (!is_name_char(*c) && !strchr(".*%!", *c)) return false;
  return end > at;
}

// Whether a magic begins at s->at (blanks passed); fills kind, first and end.
static bool find_magic(const struct scanner *s, bool at_start, struct kf_magic *magic) {
  const char *at = s->at, *target_end = at, *begin = at;
  if (*at == '%' && at + 1 < s->end && at[1] == '%') {
    if (!at_start) return false;
    magic->kind = KF_CELL_MAGIC;
    magic->end = (size_t)(s->end - s->source);
    magic->first = magic->target_end = (size_t)(at - s->source);
    return true;
  }
  if (*at == '%') magic->kind = KF_LINE_MAGIC;
  else if (*at == '!') magic->kind = KF_SHELL;
  else if (*at == '?' || asks_help(at, line_end(s, at))) magic->kind = KF_HELP;
  else if ((begin = assigned_magic(s, at, &target_end)))
    magic->kind = *begin == '%' ? KF_ASSIGNED_MAGIC : KF_ASSIGNED_SHELL;
  else return false;
  magic->first = (size_t)(at - s->source);
  magic->target_end = (size_t)(target_end - s->source);
  magic->end = (size_t)(magic_end(s, begin) - s->source);
  return true;
}

void kf_magics_find(const char *source, size_t size, void (*found)(void *data, const struct kf_magic *magic),
                    void *data) {
  struct scanner s = {.at = source, .end = source + size, .source = source, .line = 1};
  bool at_start = true;
  while (s.at < s.end) {
    while (s.at < s.end && (*s.at == ' ' || *s.at == '\t' || *s.at == '\f')) s.at++;
    if (s.at >= s.end) return;
    struct kf_magic magic = {.line = s.line};
    if (find_magic(&s, at_start, &magic)) {
      found(data, &magic);
      for (const char *c = s.at; c < source + magic.end; c++) s.line += *c == '\n';
      s.at = source + magic.end;
    }
    if (*s.at != '\n' && *s.at != '#' && *s.at != '\r') at_start = false;
    s.brackets = 0;
    skip_statement(&s);
  }
}

// --- joints ---------------------------------------------------------------------------------------

// Passes blanks and, with `lines`, comments and newlines too; the column that is reached, a tab
// counting eight as in the grammar.
static size_t skip_blanks(struct scanner *s, bool lines) {
  size_t column = 0;
  for (; s->at < s->end; s->at++) {
    char c = *s->at;
    if (c == '#' && lines) s->at = line_end(s, s->at) - 1;
    else if (c == '\n' && lines) column = 0;
    else if (c == '\t') column += 8;
    else if (c == ' ' || c == '\f' || c == '\r') column++;
    else break;
  }
  return column;
}

void kf_joints_find(const char *source, size_t size, void (*found)(void *data, size_t first, size_t end),
                    void *data) {
  struct scanner s = {.at = source, .end = source + size, .source = source};
  size_t indent = skip_blanks(&s, false);
  while (s.at < s.end) {
    const char *first = s.at;
    char c = *first;
    if (c == '"' || c == '\'') {
      skip_string(&s);
    } else if (s.brackets > 0 && (c == '\n' || c == '#')) {
      if (skip_blanks(&s, true) < indent) found(data, (size_t)(first - source), (size_t)(s.at - source));
    } else if (c == '#') {
      s.at = line_end(&s, first);
    } else if (c == '\\' && s.end - first > 1) {
      s.at += 2;
    } else {
      if (c == '(' || c == '[' || c == '{') s.brackets++;
      else if ((c == ')' || c == ']' || c == '}') && s.brackets > 0) s.brackets--;
      s.at++;
      if (c == '\n') indent = skip_blanks(&s, false);
    }
  }
}
