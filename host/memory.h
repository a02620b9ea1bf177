// The memory of a Lua state: small blocks of one size lie side by side in a page, without headers of their
// own, as Lua knows the size of what it frees. Not for sandboxes, whose allocator counts.
//
// Under AddressSanitizer every block is one of malloc, so that it sees each.
#ifndef KF_MEMORY_H
#define KF_MEMORY_H

#include <stddef.h>

enum { KF_SMALL_BLOCK = 256, KF_SMALL_STEP = 8 };  // larger blocks are malloc's

struct kf_memory {
  struct kf_page *partial[KF_SMALL_BLOCK / KF_SMALL_STEP + 1];  // pages with room, by size / step
  struct kf_page *empty;
  struct kf_region *regions;
  char *at, *end;  // what is left of the newest region
};

// A lua_Alloc; `data` is the struct kf_memory, all zero at first.
void *kf_memory_allocate(void *data, void *block, size_t old_size, size_t size);

// Frees all pages: once the state is closed.
void kf_memory_free(struct kf_memory *memory);

#endif
