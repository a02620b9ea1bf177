// Regular expressions with the syntax and meaning of Go's regexp (RE2): leftmost match, the first
// alternative wins, time linear in the text. ASCII classes; \p{…} is refused as unsupported.
#ifndef KF_BASE_REGEX_H
#define KF_BASE_REGEX_H

#include <stdbool.h>
#include <stddef.h>

struct kf_regex;

struct kf_regex_error {
  const char *problem;  // in Go's words: "missing closing )"; static
  size_t offset;        // the part of the pattern that it is about
  size_t length;
};

// Compiles a pattern (UTF-8). NULL when it is none (error->problem says why) or memory is out
// (error->problem is NULL). The caller frees it.
struct kf_regex *kf_regex_compile(const char *pattern, size_t length, struct kf_regex_error *error);
void kf_regex_free(struct kf_regex *regex);

// The number of capturing groups.
size_t kf_regex_groups(const struct kf_regex *regex);

// The first match that begins at `from` or later. With room for 2 × (groups + 1) offsets in spans:
// begin and end of the match, then of each group, -1 for one that took no part. spans may be NULL.
// Returns 1 for a match, 0 for none, -1 when memory is out.
int kf_regex_match(const struct kf_regex *regex, const char *text, size_t length, size_t from,
                   ptrdiff_t *spans);

#endif
