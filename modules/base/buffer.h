// A growing byte buffer. Plain C: it never raises; a failed allocation is remembered in `failed`
// and later appends do nothing, so that a caller checks once at the end.
#ifndef KF_BASE_BUFFER_H
#define KF_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct kf_buffer {
  char *data;
  size_t length;
  size_t capacity;
  bool failed;
};

// The buffer starts as {0}; the owner frees it with kf_buffer_free, after which it is {0} again.
void kf_buffer_free(struct kf_buffer *buffer);

// Room for `extra` more bytes at data + length; NULL (and failed) when memory is out.
char *kf_buffer_reserve(struct kf_buffer *buffer, size_t extra);

void kf_buffer_add(struct kf_buffer *buffer, const void *bytes, size_t length);
void kf_buffer_add_text(struct kf_buffer *buffer, const char *text);

static inline void kf_buffer_add_char(struct kf_buffer *buffer, char c) {
  if (buffer->length < buffer->capacity || kf_buffer_reserve(buffer, 1))
    buffer->data[buffer->length++] = c;
}

#endif
