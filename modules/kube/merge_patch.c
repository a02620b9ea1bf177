// Merge patch (RFC 7386).
#include "kube.h"

#include <lauxlib.h>

static struct kf_node *merge(struct kf_tree *tree, struct kf_node *doc, const struct kf_node *patch) {
  if (patch->kind != KF_MAP) return kf_tree_copy(tree, patch);
  if (doc == NULL || doc->kind != KF_MAP) doc = kf_tree_new(tree, KF_MAP);
  for (size_t i = 0; i < patch->count; i++) {
    const struct kf_member *member = &patch->members[i];
    if (member->value->kind == KF_NULL) {
      kf_map_remove(doc, member->key, member->length);
      continue;
    }
    struct kf_node *old = kf_map_get(doc, member->key, member->length);
    kf_map_set(tree, doc, member->key, member->length, merge(tree, old, member->value));
  }
  return doc;
}

int kf_patch_merge(lua_State *L) {
  struct kf_tree tree;
  luaL_checkany(L, 1);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  kf_tree_open(L, &tree, "Patch");
  struct kf_node *doc = kf_tree_read(&tree, 1);
  kf_tree_push(&tree, merge(&tree, doc, kf_tree_read(&tree, 2)));
  return 1;
}
