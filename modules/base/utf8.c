#include "base/utf8.h"

#include <string.h>

static int is_tail(unsigned char byte) {
  return (byte & 0xc0) == 0x80;
}

size_t kf_utf8_length(const char *text, size_t size) {
  const unsigned char *b = (const unsigned char *)text;
  if (size == 0) return 0;
  if (b[0] < 0x80) return 1;
  if (b[0] < 0xc2) return 0;
  if (b[0] < 0xe0) return size >= 2 && is_tail(b[1]) ? 2 : 0;
  if (b[0] < 0xf0) {
    if (size < 3 || !is_tail(b[1]) || !is_tail(b[2])) return 0;
    if (b[0] == 0xe0 && b[1] < 0xa0) return 0;   // overlong
    if (b[0] == 0xed && b[1] >= 0xa0) return 0;  // surrogate
    return 3;
  }
  if (b[0] > 0xf4 || size < 4 || !is_tail(b[1]) || !is_tail(b[2]) || !is_tail(b[3])) return 0;
  if (b[0] == 0xf0 && b[1] < 0x90) return 0;   // overlong
  if (b[0] == 0xf4 && b[1] >= 0x90) return 0;  // above U+10FFFF
  return 4;
}

size_t kf_utf8_check(const char *text, size_t size) {
  size_t at = 0;
  while (at < size) {
    uint64_t word;
    if (size - at >= sizeof word) {
      memcpy(&word, text + at, sizeof word);
      if (!(word & UINT64_C(0x8080808080808080))) {
        at += sizeof word;
        continue;
      }
    }
    size_t length = kf_utf8_length(text + at, size - at);
    if (length == 0) return at;
    at += length;
  }
  return size;
}

size_t kf_utf8_encode(char out[4], uint32_t character) {
  if (character < 0x80) {
    out[0] = (char)character;
    return 1;
  }
  if (character < 0x800) {
    out[0] = (char)(0xc0 | character >> 6);
    out[1] = (char)(0x80 | (character & 0x3f));
    return 2;
  }
  if (character < 0x10000) {
    out[0] = (char)(0xe0 | character >> 12);
    out[1] = (char)(0x80 | (character >> 6 & 0x3f));
    out[2] = (char)(0x80 | (character & 0x3f));
    return 3;
  }
  out[0] = (char)(0xf0 | character >> 18);
  out[1] = (char)(0x80 | (character >> 12 & 0x3f));
  out[2] = (char)(0x80 | (character >> 6 & 0x3f));
  out[3] = (char)(0x80 | (character & 0x3f));
  return 4;
}

uint32_t kf_utf8_decode(const char *text, size_t *length) {
  const unsigned char *b = (const unsigned char *)text;
  if (b[0] < 0x80) return *length = 1, b[0];
  if (b[0] < 0xe0) return *length = 2, (uint32_t)(b[0] & 0x1f) << 6 | (b[1] & 0x3f);
  if (b[0] < 0xf0)
    return *length = 3,
           (uint32_t)(b[0] & 0x0f) << 12 | (uint32_t)(b[1] & 0x3f) << 6 | (b[2] & 0x3f);
  return *length = 4, (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3f) << 12 |
                          (uint32_t)(b[2] & 0x3f) << 6 | (b[3] & 0x3f);
}

void kf_utf8_position(const char *text, size_t offset, size_t *line, size_t *column) {
  size_t start = 0;
  *line = 1;
  *column = 1;
  for (size_t i = 0; i < offset; i++) {
    if (text[i] != '\n') continue;
    ++*line;
    start = i + 1;
  }
  for (size_t i = start; i < offset; i++) *column += !is_tail((unsigned char)text[i]);
}
