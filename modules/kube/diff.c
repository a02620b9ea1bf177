// kube.patch.diff: the JSON patch that makes one value of another: nothing that is equal is touched.
#include "diff.h"

#include "kube.h"
#include "values.h"

#include <lauxlib.h>

int kf_patch_diff(lua_State *L) {
  struct differ d = {.work = 0};
  luaL_checkany(L, 1);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  kf_tree_open(L, &d.tree, "Patch");
  lua_newtable(L);
  luaL_setmetatable(L, KF_ARRAY);
  d.ops = lua_gettop(L);
  luaL_getmetatable(L, KF_ARRAY);
  d.list_mark = lua_topointer(L, -1);
  if (!kf_diff_walk(&d, 1, 2)) {  // read whole, so that what is wrong is said with its place
    lua_settop(L, d.ops);
    for (size_t i = lua_rawlen(L, d.ops); i > 0; i--) {
      lua_pushnil(L);
      lua_rawseti(L, d.ops, (lua_Integer)i);
    }
    d.length = 0;
    const struct kf_node *a = kf_tree_read(&d.tree, 1);
    kf_diff_trees(&d, a, kf_tree_read(&d.tree, 2));
  }
  lua_settop(L, d.ops);
  return 1;
}
