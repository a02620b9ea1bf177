// UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, nothing above U+10FFFF.
#ifndef KF_BASE_UTF8_H
#define KF_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Of eight bytes that were read as a word: the place of the first one whose highest bit is set in `marks`.
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are searched from their lowest byte");
static inline size_t kf_first_byte(uint64_t marks) {
  return (size_t)__builtin_ctzll(marks) / 8;
}

// How many bytes from `at` mean themselves in a JSON string: no quote, backslash, control character or byte of a
// longer sequence. Here, because both ends of the codec spend their time in it.
static inline size_t kf_plain_run(const char *at, size_t size) {
  const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
  size_t done = 0;
  for (; size - done >= 8; done += 8) {
    uint64_t word;
    memcpy(&word, at + done, sizeof word);
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    uint64_t special = (((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) |
                        ((word - ones * 0x20) & ~word) | word) & highs;
    if (special) return done + kf_first_byte(special);
  }
  while (done < size && (unsigned char)at[done] >= 0x20 && (unsigned char)at[done] < 0x80 &&
         at[done] != '"' && at[done] != '\\')
    done++;
  return done;
}

// The length (1–4) of the character at `text`, of at most `size` bytes; 0 when it is malformed.
size_t kf_utf8_length(const char *text, size_t size);

// The offset of the first malformed byte, or `size` when there is none.
size_t kf_utf8_check(const char *text, size_t size);

// Writes the character (a valid one) and returns its length.
size_t kf_utf8_encode(char out[4], uint32_t character);

// Reads the character at `text` (well-formed) and its length.
uint32_t kf_utf8_decode(const char *text, size_t *length);

// The 1-based line, and column in characters, of a byte offset; lines end at \n.
void kf_utf8_position(const char *text, size_t offset, size_t *line, size_t *column);

#endif
