// Numbers as JSON texts have them (RFC 8259), read and written without loss: an integer that fits
// int64 is one, all else is the double nearest to the text.
#ifndef KF_BASE_NUMBER_H
#define KF_BASE_NUMBER_H

#include <stddef.h>
#include <stdint.h>

enum kf_number_kind { KF_NUMBER_BAD, KF_NUMBER_INTEGER, KF_NUMBER_DOUBLE, KF_NUMBER_HUGE };
struct kf_number {
  enum kf_number_kind kind;  // HUGE: a double would overflow
  int64_t integer;
  double number;
  size_t length;  // bytes read; of a bad one, up to where it went wrong
};

// Reads the number at the beginning of `text`; a byte at text[size] must exist and be no digit.
struct kf_number kf_number_read(const char *text, size_t size);

// Writes the shortest text that reads back equal, in the manner of Go and JavaScript: integral
// values below 2^53 without a point, exponents only below 1e-6 and from 1e21 on, -0 as "-0".
// The number is finite. Returns the length.
enum { KF_NUMBER_SIZE = 32 };
size_t kf_number_write(char out[KF_NUMBER_SIZE], double number);
size_t kf_number_write_integer(char out[KF_NUMBER_SIZE], int64_t integer);

#endif
