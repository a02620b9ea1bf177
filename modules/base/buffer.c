#include "base/buffer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void kf_buffer_free(struct kf_buffer *buffer) {
  free(buffer->data);
  *buffer = (struct kf_buffer){0};
}

char *kf_buffer_reserve(struct kf_buffer *buffer, size_t extra) {
  if (buffer->failed) return NULL;
  if (buffer->data && extra <= buffer->capacity - buffer->length) return buffer->data + buffer->length;
  if (extra > SIZE_MAX / 2 - buffer->length) {
    buffer->failed = true;
    return NULL;
  }
  size_t capacity = buffer->capacity ? buffer->capacity : 64;
  while (capacity - buffer->length < extra) capacity *= 2;
  char *data = realloc(buffer->data, capacity);
  if (!data) {
    buffer->failed = true;
    return NULL;
  }
  buffer->data = data;
  buffer->capacity = capacity;
  return data + buffer->length;
}

void kf_buffer_add(struct kf_buffer *buffer, const void *bytes, size_t length) {
  char *room = kf_buffer_reserve(buffer, length);
  if (!room || length == 0) return;
  memcpy(room, bytes, length);
  buffer->length += length;
}

void kf_buffer_add_text(struct kf_buffer *buffer, const char *text) {
  kf_buffer_add(buffer, text, strlen(text));
}
