#include "name.h"

#include <utf8proc.h>

// The most characters that one becomes (U+FDFA).
enum { EXPANSION = 18, OPTIONS = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT };

bool kf_name_is_wide(const char *name, size_t size) {
  for (size_t i = 0; i < size; i++)
    if ((unsigned char)name[i] >= 0x80) return true;
  return false;
}

size_t kf_name_room(size_t size) {
  return (size * EXPANSION + 1) * sizeof(utf8proc_int32_t);
}

size_t kf_name_normal(const char *name, size_t size, void *room) {
  utf8proc_ssize_t capacity = (utf8proc_ssize_t)(size * EXPANSION);
  utf8proc_ssize_t count = utf8proc_decompose((const utf8proc_uint8_t *)name, (utf8proc_ssize_t)size,
                                              room, capacity, (utf8proc_option_t)OPTIONS);
  if (count < 0 || count > capacity) return 0;
  count = utf8proc_reencode(room, count, (utf8proc_option_t)OPTIONS);
  return count < 0 ? 0 : (size_t)count;
}
