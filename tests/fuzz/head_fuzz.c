// Any bytes as an HTTP request: the head must be understood or refused, with slices inside it; a
// chunked body must not depend on the pieces in which it comes.
#include "server/head.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_slice(struct kf_slice slice, const char *text, size_t length) {
  bool of_ours = slice.length == 1 && *slice.text == '/';  // the path of "http://host"
  if (!of_ours && (slice.text < text || slice.text + slice.length > text + length)) abort();
}

static void check_head(const uint8_t *data, size_t size) {
  static struct kf_head head;
  char *text = malloc(size + 1);
  size_t from = 0;
  memcpy(text, data, size);
  size_t length = kf_head_end(text, size, &from);
  if (length > size) abort();
  int status = length ? kf_head_parse(text, length, &head) : 400;
  if (!status) {
    check_slice(head.method, text, length);
    check_slice(head.path, text, length);
    if (head.query.text) check_slice(head.query, text, length);
    for (size_t i = 0; i < head.count; i++) {
      check_slice(head.headers[i].name, text, length);
      check_slice(head.headers[i].value, text, length);
    }
    if (head.chunked && head.has_length) abort();
    // A second reading (after the body has come) must say the same.
    size_t count = head.count;
    if (kf_head_parse(text, length, &head) || head.count != count) abort();
  } else if (status < 400 || status > 505) {
    abort();
  }
  free(text);
}

// The decoded body of what comes in pieces; its length, or SIZE_MAX when it is none.
static size_t decode(const uint8_t *data, size_t size, size_t step, char *body) {
  struct kf_chunks chunks = {0};
  size_t length = 0, end = 0;  // body: what is decoded; from there to end: what is not
  for (size_t at = 0; at < size && chunks.state != CHUNK_DONE; at += step) {
    size_t count = size - at < step ? size - at : step, got, used;
    memcpy(body + end, data + at, count);
    end += count;
    if (!kf_chunks_decode(&chunks, body + length, end - length, &got, &used)) return SIZE_MAX;
    if (got > used || used > end - length) abort();
    memmove(body + length + got, body + length + used, end - length - used);
    end -= used - got;
    length += got;
  }
  return chunks.state == CHUNK_DONE ? length : SIZE_MAX - 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  check_head(data + 1, size - 1);
  char *pieces = malloc(size), *whole = malloc(size);
  size_t a = decode(data + 1, size - 1, 1 + data[0] % 16, pieces);
  size_t b = decode(data + 1, size - 1, size, whole);
  if (a != b || (a < SIZE_MAX - 1 && memcmp(pieces, whole, a) != 0)) abort();
  free(pieces);
  free(whole);
  return 0;
}
