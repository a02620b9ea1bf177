// The frames of a WebSocket (RFC 6455): plain C, no Lua.
#ifndef KF_WS_FRAME_H
#define KF_WS_FRAME_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

enum kf_opcode {
  KF_CONTINUATION = 0,
  KF_TEXT = 1,
  KF_BINARY = 2,
  KF_CLOSE = 8,
  KF_PING = 9,
  KF_PONG = 10,
};

// What comes from the other side. Starts as {.masked, .limit}; freed by kf_frames_free.
struct kf_frames {
  bool masked;               // the other side is a client: each frame must be masked, else none
  size_t limit;              // of a message's bytes
  struct kf_buffer in;       // come and not understood
  size_t taken;
  struct kf_buffer message;  // of the fragments so far
  enum kf_opcode opcode;     // of the message that is in fragments, else KF_CONTINUATION
  int code;                  // after KF_BROKEN: the close code for the other side
  const char *problem;       // and what is wrong, for people
};

enum kf_frame_kind { KF_MORE, KF_MESSAGE, KF_CONTROL, KF_BROKEN };

// A whole message (its fragments joined) or a control frame; the bytes stay until the next call.
struct kf_frame {
  enum kf_opcode opcode;
  const char *data;
  size_t length;
  int code;  // of a close frame: 1005 when it has none
};

void kf_frames_free(struct kf_frames *frames);
// Adds what has come; false when memory is out.
bool kf_frames_feed(struct kf_frames *frames, const char *bytes, size_t length);
// The next message or control frame; KF_MORE when it is not there yet. Of a close frame `data` is
// the reason. After KF_BROKEN nothing more can be read.
enum kf_frame_kind kf_frames_next(struct kf_frames *frames, struct kf_frame *frame);

// Adds a whole frame to out; `mask` is NULL (a server) or four random bytes.
void kf_frame_write(struct kf_buffer *out, enum kf_opcode opcode, const char *data, size_t length,
                    const unsigned char *mask);

// Whether a close code may be sent.
bool kf_close_code_is_valid(int code);

#endif
