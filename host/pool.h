// Memory for many small blocks that come and go: those of a sandbox. A block's size is known to who gives it back, so
// that none carries a head. What a pool has it keeps until it ends. Not for a heap of many megabytes: blocks are given
// out again in the order in which they came back, and what lies apart is slow to walk through.
#ifndef KF_POOL_H
#define KF_POOL_H

#include <stddef.h>

enum { KF_POOL_STEP = 16, KF_POOL_MOST = 256 };  // sizes of blocks: multiples of STEP, up to MOST; others are malloc's

struct kf_pool {
  void *spare[KF_POOL_MOST / KF_POOL_STEP];  // by size, each block with the address of the next
  char *fresh, *end;                         // what of the youngest slab is not given out yet
  struct kf_slab *slabs;
};

// As realloc does, and free when `size` is 0; `old_size` is what was asked for then (0 for no block).
// NULL when there is no memory to grow: the block stays as it is. Less room never fails.
void *kf_pool_resize(struct kf_pool *pool, void *block, size_t old_size, size_t size);

// Frees all slabs; larger blocks must have been given back.
void kf_pool_end(struct kf_pool *pool);

#endif
