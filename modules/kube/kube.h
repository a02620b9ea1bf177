// The parts of kube.core.
#ifndef KF_KUBE_KUBE_H
#define KF_KUBE_KUBE_H

#include "tree.h"

#include <stdarg.h>

// --- patches: Lua functions that take values and give a new one, or raise code "Patch" ------------
int kf_patch_json(lua_State *L);   // (doc, ops) -> doc
int kf_patch_merge(lua_State *L);  // (doc, patch) -> doc
int kf_patch_diff(lua_State *L);   // (a, b) -> ops
int kf_patch_strategic(lua_State *L);  // (doc, patch, "apps/v1/Deployment") -> doc

#endif
