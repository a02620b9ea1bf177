// Blocks that come, grow, shrink and go in a random order keep their bytes, do not overlap, and are used again.
#include "pool.h"

#include "tap.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 500, STEPS = 200000, LARGEST = 2 * KF_POOL_MOST };

struct block {
  unsigned char *bytes, mark;
  size_t size;
};

static uint32_t random_state = 7;

static size_t random_below(size_t limit) {
  random_state = random_state * 1664525 + 1013904223;
  return (random_state >> 8) % limit;
}

static bool is_whole(const struct block *block, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (block->bytes[i] != block->mark) return false;
  return true;
}

// Gives a block another size, often none; whether its bytes were what they should be, before and after.
static bool change(struct kf_pool *pool, struct block *block) {
  size_t size = random_below(3) == 0 ? 0 : 1 + random_below(LARGEST);
  size_t kept = block->size < size ? block->size : size;
  bool whole = is_whole(block, block->size);
  block->bytes = kf_pool_resize(pool, block->bytes, block->size, size);
  block->size = size;
  if (size == 0 || !block->bytes) return whole && size == 0 && !block->bytes;
  whole = whole && (uintptr_t)block->bytes % 16 == 0 && is_whole(block, kept);
  block->mark = (unsigned char)random_below(256);
  memset(block->bytes, block->mark, size);
  return whole;
}

static void test_random_order(void) {
  static struct block blocks[BLOCKS];
  struct kf_pool pool = {0};
  bool whole = true;
  for (int step = 0; step < STEPS; step++) whole = change(&pool, &blocks[random_below(BLOCKS)]) && whole;
  for (struct block *block = blocks; block < blocks + BLOCKS; block++) {
    whole = whole && is_whole(block, block->size);
    kf_pool_resize(&pool, block->bytes, block->size, 0);
  }
  kf_pool_end(&pool);
  tap_ok(whole, "blocks keep their bytes in a random order of changes");
}

static void test_reuse(void) {
  struct kf_pool pool = {0};
  for (int round = 0; round < 1000; round++) {
    void *blocks[200];
    for (size_t i = 0; i < 200; i++) blocks[i] = kf_pool_resize(&pool, NULL, 0, 100);
    for (size_t i = 0; i < 200; i++) kf_pool_resize(&pool, blocks[i], 100, 0);
  }
  struct kf_pool before = pool;
  void *one = kf_pool_resize(&pool, NULL, 0, 100);
  tap_ok(before.slabs == pool.slabs && before.fresh == pool.fresh, "what was given back is given out again");
  kf_pool_resize(&pool, one, 100, 0);
  kf_pool_end(&pool);
}

int main(void) {
  test_random_order();
  test_reuse();
  return tap_done();
}
