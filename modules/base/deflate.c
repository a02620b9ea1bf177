#include "base/deflate.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 32768, SHORTEST = 3, LONGEST = 258, TRIES = 48, SLOTS = 1 << 14 };

// Earlier places with the same three bytes: the last one by hash, how far before each one its predecessor
// is, 0 for none that is near enough.
struct matcher {
  const unsigned char *bytes;
  size_t size;
  int32_t last[SLOTS];
  uint16_t before[WINDOW];
};

struct bits {
  struct kf_buffer *out;
  uint32_t value;
  unsigned count;
};

static void put_bits(struct bits *bits, uint32_t value, unsigned count) {
  bits->value |= value << bits->count;
  bits->count += count;
  for (; bits->count >= 8; bits->count -= 8, bits->value >>= 8)
    kf_buffer_add_char(bits->out, (char)(bits->value & 255));
}

// Huffman codes are written from their highest bit.
static void put_code(struct bits *bits, uint32_t code, unsigned count) {
  uint32_t reversed = 0;
  for (unsigned i = 0; i < count; i++) reversed |= (code >> i & 1) << (count - 1 - i);
  put_bits(bits, reversed, count);
}

static void put_symbol(struct bits *bits, uint32_t symbol) {
  if (symbol < 144) put_code(bits, 0x30 + symbol, 8);
  else if (symbol < 256) put_code(bits, 0x190 + symbol - 144, 9);
  else if (symbol < 280) put_code(bits, symbol - 256, 7);
  else put_code(bits, 0xC0 + symbol - 280, 8);
}

// Lengths 3 to 257: four to each number of extra bits, but eight to none.
static void put_length(struct bits *bits, uint32_t length) {
  if (length == LONGEST) { put_symbol(bits, 285); return; }
  uint32_t left = length - SHORTEST;
  if (left < 8) { put_symbol(bits, 257 + left); return; }
  unsigned extra = 1;
  while (left >> (extra + 3)) extra++;
  put_symbol(bits, 257 + 4 * extra + (left >> extra));
  put_bits(bits, left & ((1u << extra) - 1), extra);
}

// Distances 1 to 32768: two to each number of extra bits, but four to none.
static void put_distance(struct bits *bits, uint32_t distance) {
  uint32_t left = distance - 1;
  if (left < 4) { put_code(bits, left, 5); return; }
  unsigned extra = 1;
  while (left >> (extra + 2)) extra++;
  put_code(bits, 2 * extra + (left >> extra), 5);
  put_bits(bits, left & ((1u << extra) - 1), extra);
}

static uint32_t slot_of(const unsigned char *at) {
  uint32_t key = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16;
  return key * 2654435761u >> 18;
}

static void remember(struct matcher *m, size_t at) {
  if (at + SHORTEST > m->size) return;
  uint32_t slot = slot_of(m->bytes + at);
  int64_t distance = (int64_t)at - m->last[slot];
  m->before[at % WINDOW] = (uint16_t)(m->last[slot] < 0 || distance > WINDOW ? 0 : distance);
  m->last[slot] = (int32_t)at;
}

static size_t common_length(const struct matcher *m, size_t a, size_t b, size_t most) {
  size_t length = 0;
  while (length < most && m->bytes[a + length] == m->bytes[b + length]) length++;
  return length;
}

// The longest earlier text that goes on as here; its length, 0 for none.
static size_t find(const struct matcher *m, size_t at, size_t *distance) {
  size_t best = 0, most = m->size - at < LONGEST ? m->size - at : LONGEST;
  if (most < SHORTEST) return 0;
  int32_t place = m->last[slot_of(m->bytes + at)];
  for (int tries = TRIES; place >= 0 && at - (size_t)place < WINDOW && tries > 0; tries--) {
    // A longer one goes on where the best ended; most places are done with by that byte.
    if (m->bytes[(size_t)place + best] == m->bytes[at + best]) {
      size_t length = common_length(m, (size_t)place, at, most);
      if (length > best) {
        best = length;
        *distance = at - (size_t)place;
      }
      if (best == most) break;
    }
    uint16_t before = m->before[(size_t)place % WINDOW];
    if (before == 0) break;
    place -= before;
  }
  return best >= SHORTEST ? best : 0;
}

static uint32_t adler32(const unsigned char *bytes, size_t size) {
  uint32_t a = 1, b = 0;
  for (size_t i = 0; i < size; i++) {
    a = (a + bytes[i]) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

static void put_all(struct bits *bits, struct matcher *m) {
  for (size_t at = 0; at < m->size;) {
    size_t distance = 0, length = find(m, at, &distance);
    if (length) {
      put_length(bits, (uint32_t)length);
      put_distance(bits, (uint32_t)distance);
    } else {
      put_symbol(bits, m->bytes[at]);
      length = 1;
    }
    for (; length; length--) remember(m, at++);
  }
}

void kf_deflate(struct kf_buffer *out, const unsigned char *bytes, size_t size) {
  struct matcher *m = size < INT32_MAX ? malloc(sizeof *m) : NULL;
  if (!m) { out->failed = true; return; }
  m->bytes = bytes;
  m->size = size;
  memset(m->last, -1, sizeof m->last);
  struct bits bits = {.out = out};
  kf_buffer_add(out, "\x78\x9c", 2);
  put_bits(&bits, 3, 3);  // the last block, fixed codes
  put_all(&bits, m);
  put_symbol(&bits, 256);
  if (bits.count) put_bits(&bits, 0, 8 - bits.count);
  uint32_t sum = adler32(bytes, size);
  for (int shift = 24; shift >= 0; shift -= 8) kf_buffer_add_char(out, (char)(sum >> shift & 255));
  free(m);
}
