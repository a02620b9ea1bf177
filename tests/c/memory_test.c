// The memory of a Lua state: what is written into a block stays there, whatever else is taken, moved and freed.
#include "memory.h"

#include "tap.h"

#include <stdint.h>
#include <string.h>

enum { BLOCKS = 4000, STEPS = 400000, LARGEST = 600 };

static struct {
  unsigned char *bytes;
  size_t size;
} blocks[BLOCKS];

static uint32_t random_number(uint32_t limit) {
  static uint64_t state = 20260611;
  state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t)(state >> 33) % limit;
}

static bool is_whole(size_t index, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (blocks[index].bytes[i] != (unsigned char)(index * 31)) return false;
  return true;
}

// Takes, moves or frees a block; false when it lost what was in it.
static bool step(struct kf_memory *memory, size_t index) {
  size_t old = blocks[index].size, size = random_number(4) == 0 ? 0 : 1 + random_number(LARGEST);
  if (!is_whole(index, old)) return false;
  blocks[index].bytes = kf_memory_allocate(memory, blocks[index].bytes, old, size);
  if ((size == 0) != (blocks[index].bytes == NULL) || (uintptr_t)blocks[index].bytes % KF_SMALL_STEP) return false;
  blocks[index].size = size;
  if (!is_whole(index, old < size ? old : size)) return false;
  if (size > 0) memset(blocks[index].bytes, (int)(unsigned char)(index * 31), size);
  return true;
}

static bool all_freed(struct kf_memory *memory) {
  for (size_t i = 0; i < BLOCKS; i++) {
    if (!is_whole(i, blocks[i].size)) return false;
    kf_memory_allocate(memory, blocks[i].bytes, blocks[i].size, 0);
    blocks[i].bytes = NULL;
    blocks[i].size = 0;
  }
  for (size_t class = 0; class <= KF_SMALL_BLOCK / KF_SMALL_STEP; class++)
    if (memory->partial[class]) return false;
  return true;
}

static bool in_one_size(struct kf_memory *memory, size_t size) {
  for (size_t i = 0; i < BLOCKS; i++) {
    blocks[i].size = size;
    blocks[i].bytes = kf_memory_allocate(memory, NULL, 0, size);
    memset(blocks[i].bytes, (int)(unsigned char)(i * 31), size);
  }
  return all_freed(memory);
}

static bool serves_other_sizes(struct kf_memory *memory) {
  bool whole = in_one_size(memory, KF_SMALL_BLOCK);
  const struct kf_region *regions = memory->regions;
  for (size_t size = 8; size < KF_SMALL_BLOCK && whole; size += 24) whole = in_one_size(memory, size);
  return whole && memory->regions == regions;
}

int main(void) {
  struct kf_memory memory = {0};
  bool whole = true;
  for (int i = 0; i < STEPS && whole; i++) whole = step(&memory, random_number(BLOCKS));
  tap_ok(whole, "blocks keep their bytes while others come, grow, shrink and go");
  tap_ok(all_freed(&memory), "pages whose blocks are all freed are in no list");
  tap_ok(serves_other_sizes(&memory), "what was freed serves other sizes");
  kf_memory_free(&memory);
  return tap_done();
}
