// The least of a TAP producer: tap_ok for each test, `return tap_done();` at the end of main.
#ifndef KF_TAP_H
#define KF_TAP_H

#include <stdbool.h>
#include <stdio.h>

static int tap_count, tap_failed;

static inline bool tap_ok(bool passed, const char *name) {
  printf("%sok %d - %s\n", passed ? "" : "not ", ++tap_count, name);
  tap_failed += !passed;
  return passed;
}

// Prints the plan and how it went; the exit code of the program. No test at all is a failure.
static inline int tap_done(void) {
  printf("1..%d\n%d passed, %d failed\n", tap_count, tap_count - tap_failed, tap_failed);
  return tap_failed > 0 || tap_count == 0;
}

#endif
