#include "term/width.h"

#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>

struct range {
  uint32_t first, last;
};
#include "term/width_table.h"

enum { JOINER = 0x200D, EMOJI_STYLE = 0xFE0F, ESCAPE = 0x1B };

static bool contains(const struct range *ranges, size_t count, uint32_t code) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (code > ranges[middle].last) low = middle + 1;
    else high = middle;
  }
  return low < count && ranges[low].first <= code;
}

static bool is_skin_tone(uint32_t code) {
  return code >= 0x1F3FB && code <= 0x1F3FF;
}

static size_t code_width(uint32_t code) {
  if (code < 0x20 || (code >= 0x7F && code < 0xA0)) return 0;
  if (code < 0x300) return 1;
  if (contains(zero_width, sizeof zero_width / sizeof *zero_width, code)) return 0;
  return contains(double_width, sizeof double_width / sizeof *double_width, code) ? 2 : 1;
}

// Reads one character and gives its length; a byte that begins none is U+FFFD of length 1.
static size_t decode(const char *text, size_t length, uint32_t *code) {
  size_t size = kf_utf8_length(text, length);
  *code = size ? kf_utf8_decode(text, &size) : 0xFFFD;
  return size ? size : 1;
}

// The length of an escape sequence "ESC [ … letter" at the start of text; 1 for a lone ESC.
static size_t escape_length(const char *text, size_t length) {
  if (length < 2 || text[1] != '[') return 1;
  for (size_t i = 2; i < length; i++)
    if (text[i] >= 0x40 && text[i] <= 0x7E) return i + 1;
  return length;
}

// One step: a character with all that joins it. Gives its bytes and, in *width, its columns.
static size_t step(const char *text, size_t length, size_t *width) {
  *width = 0;
  if (text[0] == ESCAPE) return escape_length(text, length);
  uint32_t code;
  size_t at = decode(text, length, &code);
  *width = code_width(code);
  while (at < length && *width > 0) {
    uint32_t next;
    size_t size = decode(text + at, length - at, &next);
    if (next == EMOJI_STYLE) *width = 2;
    else if (next == JOINER && at + size < length) {
      uint32_t joined;
      size += decode(text + at + size, length - at - size, &joined);
    } else if (!(next >= 0x300 && code_width(next) == 0) && !(is_skin_tone(next) && *width == 2)) {
      break;
    }
    at += size;
  }
  return at;
}

size_t kf_text_width(const char *text, size_t length) {
  size_t total = 0, width;
  for (size_t at = 0; at < length;) {
    at += step(text + at, length - at, &width);
    total += width;
  }
  return total;
}

size_t kf_text_cut(const char *text, size_t length, size_t columns) {
  size_t total = 0, width, at = 0;
  while (at < length) {
    size_t size = step(text + at, length - at, &width);
    if (total + width > columns) break;
    total += width;
    at += size;
  }
  return at;
}
