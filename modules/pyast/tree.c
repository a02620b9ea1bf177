#include "tree.h"

#include "blank.h"

#include <stdlib.h>
#include <string.h>
#include <tree_sitter/api.h>

const TSLanguage *tree_sitter_python(void);

const char *kf_tree_kind_name(uint16_t kind) {
  return ts_language_symbol_name(tree_sitter_python(), kind);
}

const char *kf_tree_field_name(uint16_t field) {
  return ts_language_field_name_for_id(tree_sitter_python(), field);
}

unsigned kf_tree_kinds(void) {
  return ts_language_symbol_count(tree_sitter_python());
}

unsigned kf_tree_fields(void) {
  return ts_language_field_count(tree_sitter_python());
}

uint16_t kf_tree_kind(const char *name, bool named) {
  return ts_language_symbol_for_name(tree_sitter_python(), name, (uint32_t)strlen(name), named);
}

uint16_t kf_tree_field(const char *name) {
  return ts_language_field_id_for_name(tree_sitter_python(), name, (uint32_t)strlen(name));
}

static bool grow(struct kf_tree *tree, uint32_t *capacity) {
  if (tree->count < *capacity) return true;
  uint32_t larger = *capacity ? *capacity * 2 : 256;
#define GROW(array)                                                                                \
  do {                                                                                             \
    void *moved = realloc(tree->array, larger * sizeof *tree->array);                              \
    if (!moved) return false;                                                                      \
    tree->array = moved;                                                                           \
  } while (0)
  GROW(kind);
  GROW(field);
  GROW(parent);
  GROW(next);
  GROW(first);
  GROW(end);
  GROW(flags);
#undef GROW
  *capacity = larger;
  return true;
}

static void add_node(struct kf_tree *tree, TSTreeCursor *cursor, uint32_t parent) {
  TSNode node = ts_tree_cursor_current_node(cursor);
  uint32_t i = tree->count++;
  tree->kind[i] = ts_node_symbol(node);
  tree->field[i] = ts_tree_cursor_current_field_id(cursor);
  tree->parent[i] = parent;
  tree->first[i] = ts_node_start_byte(node);
  tree->end[i] = ts_node_end_byte(node);
  tree->flags[i] = (uint8_t)((ts_node_is_named(node) ? KF_NODE_NAMED : 0) |
                             (ts_node_is_missing(node) ? KF_NODE_MISSING : 0) |
                             (strcmp(ts_node_type(node), "ERROR") == 0 ? KF_NODE_ERROR : 0));
}

// Walks the tree without recursion, as users may nest as deep as they like.
static bool flatten(struct kf_tree *tree, TSTreeCursor *cursor) {
  uint32_t capacity = 0, parent = 0;
  for (;;) {
    if (!grow(tree, &capacity)) return false;
    uint32_t node = tree->count;
    add_node(tree, cursor, parent);
    if (ts_tree_cursor_goto_first_child(cursor)) {
      parent = node;
      continue;
    }
    tree->next[node] = tree->count;
    while (!ts_tree_cursor_goto_next_sibling(cursor)) {
      if (!ts_tree_cursor_goto_parent(cursor)) return true;
      tree->next[parent] = tree->count;
      parent = tree->parent[parent];
    }
  }
}

// A copy of the source in which joints of lines are blank, made when there is one.
struct joined {
  const char *source;
  size_t size;
  char *copy;
  bool failed;
};

static void blank_joint(void *data, size_t first, size_t end) {
  struct joined *joined = data;
  if (!joined->copy && (joined->copy = malloc(joined->size))) memcpy(joined->copy, joined->source, joined->size);
  if (joined->copy) memset(joined->copy + first, ' ', end - first);
  else joined->failed = true;
}

static TSTree *parse(const char *source, size_t size) {
  struct joined joined = {.source = source, .size = size};
  kf_joints_find(source, size, blank_joint, &joined);
  TSParser *parser = ts_parser_new();
  ts_parser_set_language(parser, tree_sitter_python());
  TSTree *tree = NULL;
  if (!joined.failed)
    tree = ts_parser_parse_string(parser, NULL, joined.copy ? joined.copy : source, (uint32_t)size);
  ts_parser_delete(parser);
  free(joined.copy);
  return tree;
}

bool kf_tree_parse(struct kf_tree *tree, const char *source, size_t size) {
  *tree = (struct kf_tree){.source = source, .size = size};
  TSTree *parsed = parse(source, size);
  if (!parsed) return false;
  TSTreeCursor cursor = ts_tree_cursor_new(ts_tree_root_node(parsed));
  bool done = flatten(tree, &cursor);
  ts_tree_cursor_delete(&cursor);
  ts_tree_delete(parsed);
  return done;
}

void kf_tree_free(struct kf_tree *tree) {
  free(tree->kind);
  free(tree->field);
  free(tree->parent);
  free(tree->next);
  free(tree->first);
  free(tree->end);
  free(tree->flags);
  *tree = (struct kf_tree){0};
}
