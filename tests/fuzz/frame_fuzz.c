// Any bytes as what the other side of a WebSocket sends. The first byte says who that is and in
// what pieces the rest comes: the pieces must not change what is read.
#include "ws/frame.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 4096 };

static void check(const struct kf_frame *frame) {
  if (frame->opcode >= KF_CLOSE && frame->length > 125) abort();
  if (frame->length > LIMIT) abort();
  if (frame->opcode == KF_CLOSE && frame->code != 1005 && !kf_close_code_is_valid(frame->code))
    abort();
}

// What was read, as one text, in `read`.
static void read_all(const uint8_t *data, size_t size, bool masked, size_t step,
                     struct kf_buffer *read) {
  struct kf_frames frames = {.masked = masked, .limit = LIMIT};
  for (size_t at = 0; at < size; at += step) {
    size_t count = size - at < step ? size - at : step;
    if (!kf_frames_feed(&frames, (const char *)data + at, count)) abort();
    enum kf_frame_kind kind;
    struct kf_frame frame;
    while ((kind = kf_frames_next(&frames, &frame)) == KF_MESSAGE || kind == KF_CONTROL) {
      check(&frame);
      kf_buffer_add_char(read, (char)frame.opcode);
      kf_buffer_add(read, frame.data, frame.length);
    }
    if (kind == KF_BROKEN && !frames.problem) abort();
  }
  kf_buffer_add(read, &frames.code, sizeof frames.code);
  kf_frames_free(&frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  struct kf_buffer pieces = {0}, whole = {0};
  read_all(data + 1, size - 1, data[0] & 1, 1 + data[0] / 2, &pieces);
  read_all(data + 1, size - 1, data[0] & 1, size, &whole);
  if (pieces.length != whole.length || memcmp(pieces.data, whole.data, whole.length) != 0) abort();
  kf_buffer_free(&pieces);
  kf_buffer_free(&whole);
  return 0;
}
