#include "store.h"

#include <stdlib.h>
#include <string.h>

// References: a byte 0x01–0x1e and another one for the first words, 0x1f and two bytes for the others.
enum {
  NEAR_WORDS = 30 * 256,
  MOST_WORDS = NEAR_WORDS + 65536,
  MOST_BYTES = 4 << 20,   // of all words together
  SHORTEST = 4,
  LONGEST = 256,
  SEEN_SLOTS = 1 << 16
};

struct word {
  uint32_t offset;
  uint32_t hash;
  uint16_t length;
};

struct kf_dictionary {
  struct word *words;
  uint32_t count, capacity;
  struct kf_buffer bytes;
  uint32_t *slots;  // number of a word + 1, open addressing
  uint32_t slot_count;
  uint32_t *seen;  // hashes of strings that came once: only what comes again becomes a word
};

struct kf_dictionary *kf_dictionary_new(void) {
  struct kf_dictionary *d = calloc(1, sizeof *d);
  if (!d) return NULL;
  d->slot_count = 1024;
  d->slots = calloc(d->slot_count, sizeof *d->slots);
  d->seen = calloc(SEEN_SLOTS, sizeof *d->seen);
  if (d->slots && d->seen) return d;
  kf_dictionary_free(d);
  return NULL;
}

void kf_dictionary_free(struct kf_dictionary *d) {
  if (!d) return;
  free(d->words);
  free(d->slots);
  free(d->seen);
  kf_buffer_free(&d->bytes);
  free(d);
}

size_t kf_dictionary_size(const struct kf_dictionary *d) {
  return sizeof *d + d->capacity * sizeof *d->words + d->slot_count * sizeof *d->slots +
         SEEN_SLOTS * sizeof *d->seen + d->bytes.capacity;
}

static uint32_t hash_of(const char *text, size_t length) {
  uint64_t hash = UINT64_C(0x9e3779b97f4a7c15) ^ length;
  for (; length >= 8; text += 8, length -= 8) {
    uint64_t part;
    memcpy(&part, text, 8);
    hash = (hash ^ part) * UINT64_C(0xff51afd7ed558ccd);
    hash ^= hash >> 29;
  }
  uint64_t tail = 0;
  memcpy(&tail, text, length);
  hash = (hash ^ tail) * UINT64_C(0xc4ceb9fe1a85ec53);
  return (uint32_t)(hash >> 32);
}

static bool is_word(const struct kf_dictionary *d, uint32_t number, uint32_t hash, const char *text,
                    size_t length) {
  const struct word *word = &d->words[number];
  return word->hash == hash && word->length == length &&
         memcmp(d->bytes.data + word->offset, text, length) == 0;
}

// The slot of the string: of its word, or a free one.
static uint32_t *slot_of(const struct kf_dictionary *d, uint32_t hash, const char *text, size_t length) {
  uint32_t mask = d->slot_count - 1, at = hash & mask;
  while (d->slots[at] && !is_word(d, d->slots[at] - 1, hash, text, length)) at = (at + 1) & mask;
  return &d->slots[at];
}

static bool grow_slots(struct kf_dictionary *d) {
  uint32_t count = d->slot_count * 2;
  uint32_t *slots = calloc(count, sizeof *slots);
  if (!slots) return false;
  for (uint32_t i = 0; i < d->count; i++) {
    uint32_t at = d->words[i].hash & (count - 1);
    while (slots[at]) at = (at + 1) & (count - 1);
    slots[at] = i + 1;
  }
  free(d->slots);
  d->slots = slots;
  d->slot_count = count;
  return true;
}

static bool has_room(struct kf_dictionary *d, size_t length) {
  if (d->count >= MOST_WORDS || d->bytes.length + length > MOST_BYTES) return false;
  if (d->count * 2 >= d->slot_count && !grow_slots(d)) return false;
  if (d->count < d->capacity) return true;
  uint32_t capacity = d->capacity ? d->capacity * 2 : 512;
  struct word *words = realloc(d->words, capacity * sizeof *words);
  if (!words) return false;
  d->words = words;
  d->capacity = capacity;
  return true;
}

// Makes the string a word when it came before; false when it stays a string.
static bool learn(struct kf_dictionary *d, uint32_t hash, const char *text, size_t length) {
  uint32_t *seen = &d->seen[hash % SEEN_SLOTS];
  if (*seen != hash) {
    *seen = hash;
    return false;
  }
  if (!has_room(d, length)) return false;
  struct word word = {(uint32_t)d->bytes.length, hash, (uint16_t)length};
  kf_buffer_add(&d->bytes, text, length);
  if (d->bytes.failed) return false;
  *slot_of(d, hash, text, length) = d->count + 1;
  d->words[d->count++] = word;
  return true;
}

static void add_reference(struct kf_buffer *out, uint32_t number) {
  if (number < NEAR_WORDS) {
    kf_buffer_add_char(out, (char)(1 + number / 256));
  } else {
    number -= NEAR_WORDS;
    kf_buffer_add_char(out, 0x1f);
    kf_buffer_add_char(out, (char)(number / 256));
  }
  kf_buffer_add_char(out, (char)(number % 256));
}

void kf_pack_string(struct kf_dictionary *d, struct kf_buffer *out, const char *text, size_t length) {
  if (length < SHORTEST || length > LONGEST) {
    kf_buffer_add(out, text, length);
    return;
  }
  uint32_t hash = hash_of(text, length);
  uint32_t found = *slot_of(d, hash, text, length);
  if (found) add_reference(out, found - 1);
  else if (learn(d, hash, text, length)) add_reference(out, d->count - 1);
  else kf_buffer_add(out, text, length);
}

// The first byte below 0x20, or the end.
static const char *plain_end(const char *at, const char *end) {
  const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
  for (; end - at >= 8; at += 8) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    if ((word - ones * 0x20) & ~word & highs) break;
  }
  while (at < end && (unsigned char)*at >= 0x20) at++;
  return at;
}

size_t kf_unpack(const struct kf_dictionary *d, const char *packed, size_t length, char *out) {
  const char *at = packed, *end = packed + length;
  char *begin = out;
  while (at < end) {
    const char *plain = plain_end(at, end);
    memcpy(out, at, (size_t)(plain - at));
    out += plain - at;
    at = plain;
    if (at == end) break;
    uint32_t first = (unsigned char)*at++, number;
    if (first < 0x1f) number = (first - 1) * 256 + (unsigned char)*at++;
    else number = NEAR_WORDS + (unsigned char)at[0] * 256u + (unsigned char)at[1], at += 2;
    memcpy(out, d->bytes.data + d->words[number].offset, d->words[number].length);
    out += d->words[number].length;
  }
  return (size_t)(out - begin);
}
