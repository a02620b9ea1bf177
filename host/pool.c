#include "pool.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// Under AddressSanitizer each block is malloc's own, so that what is used after its end is found.
#if defined __has_feature
#if __has_feature(address_sanitizer)
#define HAS_SANITIZER
#endif
#elif defined __SANITIZE_ADDRESS__
#define HAS_SANITIZER
#endif

#ifdef HAS_SANITIZER
enum { MOST = 0 };
#else
enum { MOST = KF_POOL_MOST };
#endif

enum { SLAB = 32 * 1024 };

struct kf_slab {
  struct kf_slab *next;
  void *gap;  // so that blocks begin at multiples of 16
  char bytes[SLAB - 2 * sizeof(void *)];
};

static size_t rank_of(size_t size) {
  return (size - 1) / KF_POOL_STEP;
}

static void give(struct kf_pool *pool, void *block, size_t rank) {
  memcpy(block, &pool->spare[rank], sizeof(void *));
  pool->spare[rank] = block;
}

// What is left of the slab before is too short for the block that is wanted, but not for others.
static bool begin_slab(struct kf_pool *pool) {
  struct kf_slab *slab = malloc(sizeof *slab);
  if (!slab) return false;
  size_t left = (size_t)(pool->end - pool->fresh);
  if (left > 0) give(pool, pool->fresh, rank_of(left));
  slab->next = pool->slabs;
  pool->slabs = slab;
  pool->fresh = slab->bytes;
  pool->end = slab->bytes + sizeof slab->bytes;
  return true;
}

static void *take(struct kf_pool *pool, size_t size) {
  size_t rank = rank_of(size), length = (rank + 1) * KF_POOL_STEP;
  void *block = pool->spare[rank];
  if (block) {
    memcpy(&pool->spare[rank], block, sizeof(void *));
    return block;
  }
  if ((size_t)(pool->end - pool->fresh) < length && !begin_slab(pool)) return NULL;
  block = pool->fresh;
  pool->fresh += length;
  return block;
}

static void *allocate(struct kf_pool *pool, size_t size) {
  return size <= MOST ? take(pool, size) : malloc(size);
}

static void release(struct kf_pool *pool, void *block, size_t size) {
  if (size <= MOST) give(pool, block, rank_of(size));
  else free(block);
}

// Whether a block of one size can serve as one of the other.
static bool fits(size_t old_size, size_t size) {
  return old_size <= MOST && size <= MOST && rank_of(old_size) == rank_of(size);
}

static void *move(struct kf_pool *pool, void *block, size_t old_size, size_t size) {
  void *moved = allocate(pool, size);
  if (!moved) return size < old_size ? block : NULL;
  memcpy(moved, block, old_size < size ? old_size : size);
  release(pool, block, old_size);
  return moved;
}

void *kf_pool_resize(struct kf_pool *pool, void *block, size_t old_size, size_t size) {
  if (!block) return size ? allocate(pool, size) : NULL;
  if (size == 0) {
    release(pool, block, old_size);
    return NULL;
  }
  if (old_size > MOST && size > MOST) return realloc(block, size);
  return fits(old_size, size) ? block : move(pool, block, old_size, size);
}

void kf_pool_end(struct kf_pool *pool) {
  while (pool->slabs) {
    struct kf_slab *next = pool->slabs->next;
    free(pool->slabs);
    pool->slabs = next;
  }
  *pool = (struct kf_pool){0};
}
