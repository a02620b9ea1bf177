#include "memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
enum { SMALL = 0 };
#else
enum { SMALL = KF_SMALL_BLOCK };
#endif

enum { PAGE = 4096, REGION = 256 << 10 };

struct block {
  struct block *next;
};

// A page begins at a multiple of its size, so that a block tells its page. One without room is in no list.
struct kf_page {
  struct kf_page *previous, *next;
  struct block *free;
  char *at;  // blocks from here on were never used
  uint32_t used, class;
};

struct kf_region {
  struct kf_region *next;
};

static size_t class_of(size_t size) {
  return (size + KF_SMALL_STEP - 1) / KF_SMALL_STEP;
}

static bool has_room(const struct kf_page *page) {
  const char *end = (const char *)page + PAGE;
  return page->free || (size_t)(end - page->at) >= (size_t)page->class * KF_SMALL_STEP;
}

// --- pages --------------------------------------------------------------------------------------

static void link_page(struct kf_memory *memory, struct kf_page *page) {
  struct kf_page **first = &memory->partial[page->class];
  page->previous = NULL;
  page->next = *first;
  if (page->next) page->next->previous = page;
  *first = page;
}

static void unlink_page(struct kf_memory *memory, struct kf_page *page) {
  if (page->next) page->next->previous = page->previous;
  if (page->previous) page->previous->next = page->next;
  else memory->partial[page->class] = page->next;
}

static bool add_region(struct kf_memory *memory) {
  struct kf_region *region = malloc(REGION);
  if (!region) return false;
  region->next = memory->regions;
  memory->regions = region;
  uintptr_t first = ((uintptr_t)(region + 1) + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
  memory->at = (char *)region + (first - (uintptr_t)region);
  memory->end = (char *)region + REGION;
  return true;
}

static struct kf_page *raw_page(struct kf_memory *memory) {
  struct kf_page *page = memory->empty;
  if (page) {
    memory->empty = page->next;
    return page;
  }
  if (memory->end - memory->at < PAGE && !add_region(memory)) return NULL;
  page = (struct kf_page *)(void *)memory->at;
  memory->at += PAGE;
  return page;
}

static struct kf_page *new_page(struct kf_memory *memory, size_t class) {
  struct kf_page *page = raw_page(memory);
  if (!page) return NULL;
  *page = (struct kf_page){.at = (char *)(page + 1), .class = (uint32_t)class};
  link_page(memory, page);
  return page;
}

// --- blocks -------------------------------------------------------------------------------------

static void *take(struct kf_memory *memory, size_t class) {
  struct kf_page *page = memory->partial[class];
  if (!page && !(page = new_page(memory, class))) return NULL;
  struct block *block = page->free;
  if (block) {
    page->free = block->next;
  } else {
    block = (struct block *)(void *)page->at;
    page->at += class * KF_SMALL_STEP;
  }
  page->used++;
  if (!has_room(page)) unlink_page(memory, page);
  return block;
}

static void give_back(struct kf_memory *memory, void *freed) {
  struct kf_page *page = (struct kf_page *)(void *)((char *)freed - ((uintptr_t)freed & (PAGE - 1)));
  struct block *block = freed;
  if (!has_room(page)) link_page(memory, page);
  block->next = page->free;
  page->free = block;
  if (--page->used > 0) return;
  unlink_page(memory, page);
  page->next = memory->empty;
  memory->empty = page;
}

// A block that is small before or after.
static void *move(struct kf_memory *memory, void *block, size_t old_size, size_t size) {
  if (old_size <= SMALL && size <= SMALL && class_of(old_size) == class_of(size)) return block;
  void *fresh = size <= SMALL ? take(memory, class_of(size)) : malloc(size);
  if (!fresh) return NULL;
  memcpy(fresh, block, old_size < size ? old_size : size);
  if (old_size <= SMALL) give_back(memory, block);
  else free(block);
  return fresh;
}

void *kf_memory_allocate(void *data, void *block, size_t old_size, size_t size) {
  struct kf_memory *memory = data;
  if (!block && size == 0) return NULL;
  if (!block) return size <= SMALL ? take(memory, class_of(size)) : malloc(size);
  if (size > 0 && old_size > SMALL && size > SMALL) return realloc(block, size);
  if (size > 0) return move(memory, block, old_size, size);
  if (old_size <= SMALL) give_back(memory, block);
  else free(block);
  return NULL;
}

void kf_memory_free(struct kf_memory *memory) {
  struct kf_region *next;
  for (struct kf_region *region = memory->regions; region; region = next) {
    next = region->next;
    free(region);
  }
  *memory = (struct kf_memory){0};
}
