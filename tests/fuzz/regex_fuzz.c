// Fuzz target: patterns and texts. The first line is the pattern, the rest the text it is looked for in.
#include "base/regex.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_GROUPS = 100, MOST_TEXT = 2000 };

// A match lies within the text, groups lie within the match or took no part.
static void check_spans(const ptrdiff_t *spans, size_t groups, size_t length) {
  for (size_t i = 0; i <= groups; i++) {
    ptrdiff_t begin = spans[2 * i], end = spans[2 * i + 1];
    if (begin < 0 && i > 0) continue;
    if (begin < 0 || end < begin || (size_t)end > length) abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *pattern = (const char *)data;
  const char *line = size ? memchr(pattern, '\n', size) : NULL;
  size_t length = line ? (size_t)(line - pattern) : size;
  struct kf_regex_error error;
  struct kf_regex *regex = kf_regex_compile(pattern, length, &error);
  if (!regex) {
    if (error.problem && error.offset + error.length > length) abort();
    return 0;
  }
  size_t groups = kf_regex_groups(regex);
  size_t rest = line ? size - length - 1 : 0;
  if (line && groups <= MOST_GROUPS && rest <= MOST_TEXT) {
    ptrdiff_t spans[2 * (MOST_GROUPS + 1)];
    if (kf_regex_match(regex, line + 1, rest, 0, spans) == 1) check_spans(spans, groups, rest);
  }
  kf_regex_free(regex);
  return 0;
}
