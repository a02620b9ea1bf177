#include "frame.h"

#include "base/utf8.h"

#include <string.h>

enum { CONTROL_LIMIT = 125, PROTOCOL_ERROR = 1002, NOT_UTF8 = 1007, TOO_BIG = 1009, NO_CODE = 1005 };

struct header {
  bool last, masked;
  enum kf_opcode opcode;
  uint64_t length;
  unsigned char mask[4];
  size_t size;
};

// --- writing ------------------------------------------------------------------------------------

// Eight bytes at a time, then the rest.
static void apply_mask(char *data, size_t length, const unsigned char mask[4]) {
  uint64_t wide, word;
  size_t at = 0;
  memcpy(&wide, mask, 4);
  memcpy((char *)&wide + 4, mask, 4);
  for (; at + 8 <= length; at += 8) {
    memcpy(&word, data + at, 8);
    word ^= wide;
    memcpy(data + at, &word, 8);
  }
  for (; at < length; at++) data[at] = (char)((unsigned char)data[at] ^ mask[at & 3]);
}

void kf_frame_write(struct kf_buffer *out, enum kf_opcode opcode, const char *data, size_t length,
                    const unsigned char *mask) {
  unsigned char header[14] = {(unsigned char)(0x80 | opcode)};
  unsigned char masked = mask ? 0x80 : 0;
  size_t size = 2;
  if (length < 126) {
    header[1] = (unsigned char)(masked | length);
  } else {
    int bytes = length > 0xffff ? 8 : 2;
    header[1] = (unsigned char)(masked | (bytes == 8 ? 127 : 126));
    for (int i = bytes - 1; i >= 0; i--) header[size++] = (unsigned char)((uint64_t)length >> (8 * i));
  }
  if (mask) memcpy(header + size, mask, 4);
  if (mask) size += 4;
  kf_buffer_add(out, header, size);
  size_t start = out->length;
  kf_buffer_add(out, data, length);
  if (mask && !out->failed) apply_mask(out->data + start, length, mask);
}

bool kf_close_code_is_valid(int code) {
  if (code >= 3000 && code <= 4999) return true;
  return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}

// --- reading ------------------------------------------------------------------------------------

void kf_frames_free(struct kf_frames *frames) {
  kf_buffer_free(&frames->in);
  kf_buffer_free(&frames->message);
}

bool kf_frames_feed(struct kf_frames *frames, const char *bytes, size_t length) {
  struct kf_buffer *in = &frames->in;
  if (frames->taken > 0) {
    in->length -= frames->taken;
    memmove(in->data, in->data + frames->taken, in->length);
    frames->taken = 0;
  }
  kf_buffer_add(in, bytes, length);
  return !in->failed;
}

static enum kf_frame_kind broken(struct kf_frames *frames, int code, const char *problem) {
  frames->code = code;
  frames->problem = problem;
  return KF_BROKEN;
}

// Reads the header of the next frame; false when it is not there yet.
static bool read_header(const struct kf_frames *frames, struct header *header) {
  const unsigned char *at = (const unsigned char *)frames->in.data + frames->taken;
  size_t there = frames->in.length - frames->taken;
  if (there < 2) return false;
  header->last = at[0] & 0x80;
  header->opcode = (enum kf_opcode)(at[0] & 0x0f);
  header->masked = at[1] & 0x80;
  header->length = at[1] & 0x7f;
  size_t extra = header->length == 126 ? 2 : header->length == 127 ? 8 : 0;
  header->size = 2 + extra + (header->masked ? 4 : 0);
  if (there < header->size) return false;
  if (extra) header->length = 0;
  for (size_t i = 0; i < extra; i++) header->length = header->length << 8 | at[2 + i];
  if (header->masked) memcpy(header->mask, at + 2 + extra, 4);
  return true;
}

// What is wrong with a frame by its header alone, or NULL. The reserved bits are checked by the
// caller, since they are no part of it.
static const char *problem_of(const struct kf_frames *frames, const struct header *header) {
  switch (header->opcode) {
  case KF_CONTINUATION:
    if (frames->opcode == KF_CONTINUATION) return "a continuation of nothing";
    break;
  case KF_TEXT:
  case KF_BINARY:
    if (frames->opcode != KF_CONTINUATION) return "a new message within another";
    break;
  case KF_CLOSE:
  case KF_PING:
  case KF_PONG:
    if (!header->last) return "a control frame in fragments";
    if (header->length > CONTROL_LIMIT) return "a control frame of more than 125 bytes";
    break;
  default: return "an unknown opcode";
  }
  if (header->masked != frames->masked)
    return frames->masked ? "a frame of a client that is not masked" : "a masked frame of a server";
  return NULL;
}

static enum kf_frame_kind read_close(struct kf_frames *frames, struct kf_frame *frame) {
  frame->code = NO_CODE;
  if (frame->length == 0) return KF_CONTROL;
  if (frame->length == 1) return broken(frames, PROTOCOL_ERROR, "a close frame of one byte");
  const unsigned char *bytes = (const unsigned char *)frame->data;
  frame->code = bytes[0] << 8 | bytes[1];
  frame->data += 2;
  frame->length -= 2;
  if (!kf_close_code_is_valid(frame->code))
    return broken(frames, PROTOCOL_ERROR, "a close code that nobody may send");
  if (kf_utf8_check(frame->data, frame->length) != frame->length)
    return broken(frames, NOT_UTF8, "the reason of a close frame is not UTF-8");
  return KF_CONTROL;
}

static enum kf_frame_kind finish_message(struct kf_frames *frames, struct kf_frame *frame) {
  if (frame->opcode == KF_TEXT && kf_utf8_check(frame->data, frame->length) != frame->length)
    return broken(frames, NOT_UTF8, "a text that is not UTF-8");
  return KF_MESSAGE;
}

// A frame of a message, whose bytes are in `frame`: the message when it is whole.
static enum kf_frame_kind take_data(struct kf_frames *frames, const struct header *header,
                                    struct kf_frame *frame) {
  bool first = header->opcode != KF_CONTINUATION;
  if (first) frames->message.length = 0;
  if (first && header->last) return finish_message(frames, frame);
  kf_buffer_add(&frames->message, frame->data, frame->length);
  if (frames->message.failed) return broken(frames, TOO_BIG, "not enough memory");
  if (first) frames->opcode = header->opcode;
  if (!header->last) return KF_MORE;
  frame->opcode = frames->opcode;
  frame->data = frames->message.data ? frames->message.data : "";
  frame->length = frames->message.length;
  frames->opcode = KF_CONTINUATION;
  return finish_message(frames, frame);
}

static bool is_control(enum kf_opcode opcode) {
  return opcode >= KF_CLOSE;
}

// One frame; *whole tells whether there was one.
static enum kf_frame_kind take_frame(struct kf_frames *frames, struct kf_frame *frame, bool *whole) {
  struct header header;
  *whole = false;
  size_t there = frames->in.length - frames->taken;
  char *start = frames->in.data + frames->taken;
  if (there >= 1 && (*start & 0x70))
    return broken(frames, PROTOCOL_ERROR, "a reserved bit is set");
  if (!read_header(frames, &header)) return KF_MORE;
  const char *problem = problem_of(frames, &header);
  if (problem) return broken(frames, PROTOCOL_ERROR, problem);
  size_t before = header.opcode == KF_CONTINUATION ? frames->message.length : 0;
  if (!is_control(header.opcode) && header.length > frames->limit - before)
    return broken(frames, TOO_BIG, "a message that is too large");
  if (there - header.size < header.length) return KF_MORE;
  size_t length = (size_t)header.length;
  if (header.masked) apply_mask(start + header.size, length, header.mask);
  *frame = (struct kf_frame){header.opcode, start + header.size, length, 0};
  frames->taken += header.size + length;
  *whole = true;
  if (header.opcode == KF_CLOSE) return read_close(frames, frame);
  return is_control(header.opcode) ? KF_CONTROL : take_data(frames, &header, frame);
}

enum kf_frame_kind kf_frames_next(struct kf_frames *frames, struct kf_frame *frame) {
  bool whole = true;
  enum kf_frame_kind kind = frames->problem ? KF_BROKEN : KF_MORE;
  while (kind == KF_MORE && whole) kind = take_frame(frames, frame, &whole);
  return kind;
}
