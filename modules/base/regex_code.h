// What the compiler of regular expressions hands to the machine that runs them.
#ifndef KF_BASE_REGEX_CODE_H
#define KF_BASE_REGEX_CODE_H

#include <stddef.h>
#include <stdint.h>

enum kf_regex_op {
  KF_RE_CHAR,    // x: the character
  KF_RE_SET,     // x: index of the set
  KF_RE_ANY,     // any character
  KF_RE_LINE,    // any character but \n
  KF_RE_SPLIT,   // goes on at x, and less gladly at y
  KF_RE_JUMP,    // goes on at x
  KF_RE_SAVE,    // x: slot for the offset
  KF_RE_ASSERT,  // x: enum kf_regex_assert
  KF_RE_MATCH
};

enum kf_regex_assert {
  KF_RE_TEXT_BEGIN,
  KF_RE_TEXT_END,
  KF_RE_LINE_BEGIN,
  KF_RE_LINE_END,
  KF_RE_WORD,
  KF_RE_NO_WORD
};

struct kf_regex_step {
  enum kf_regex_op op;
  uint32_t x, y;
};

struct kf_regex_set {
  uint32_t first, count;  // in ranges: pairs of lowest and highest character
};

struct kf_regex {
  struct kf_regex_step *steps;
  size_t step_count, step_room;
  struct kf_regex_set *sets;
  size_t set_count, set_room;
  uint32_t *ranges;
  size_t range_count, range_room;  // in numbers, two a range
  size_t groups;
};

#endif
