// require "kube.core": the exact functions of Kubernetes that need no cluster.
#include "kube.h"
#include "schema.h"
#include "store.h"

#include "error.h"

#include <lauxlib.h>

static const luaL_Reg patches[] = {
    {"json", kf_patch_json}, {"merge", kf_patch_merge}, {"strategic", kf_patch_strategic},
    {"diff", kf_patch_diff}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"quantity", kf_quantity_new}, {"selector", kf_selector_new}, {"jsonpath", kf_jsonpath}, {NULL, NULL}};

int luaopen_kf_kube(lua_State *L);
int luaopen_kf_kube(lua_State *L) {
  kf_quantity_prepare(L);
  kf_selector_prepare(L);
  luaL_newlib(L, functions);
  luaL_newlib(L, patches);
  kf_add_try(L, -1);
  lua_setfield(L, -2, "patch");
  kf_schema_open(L);
  lua_setfield(L, -2, "schema");
  kf_kube_add_splitter(L);
  kf_kube_add_facts(L);
  kf_kube_add_store(L);
  kf_add_try(L, -1);
  return 1;
}
