// The parts of kube.core.
#ifndef KF_KUBE_KUBE_H
#define KF_KUBE_KUBE_H

#include "base/number.h"
#include "tree.h"

#include <stdarg.h>

// --- patches: Lua functions that take values and give a new one, or raise code "Patch" ------------
int kf_patch_json(lua_State *L);   // (doc, ops) -> doc
int kf_patch_merge(lua_State *L);  // (doc, patch) -> doc
int kf_patch_diff(lua_State *L);   // (a, b) -> ops
int kf_patch_strategic(lua_State *L);  // (doc, patch, "apps/v1/Deployment") -> doc

// --- quantities: (text or number) -> quantity, or code "Quantity" -----------------------------------
int kf_quantity_new(lua_State *L);
void kf_quantity_prepare(lua_State *L);  // [-0, +0, m] once per state

// --- label selectors: (text) -> selector, or code "Selector" ----------------------------------------
int kf_selector_new(lua_State *L);
void kf_selector_prepare(lua_State *L);  // [-0, +0, m] once per state

// Lua: jsonpath(template, object[, {strict}]) -> text, values; or code "JSONPath"
int kf_jsonpath(lua_State *L);

// --- Go's %v ------------------------------------------------------------------------------------------
size_t kf_go_double(char out[KF_NUMBER_SIZE], double number);
void kf_go_value(lua_State *L, const struct kf_node *node);  // [-0, +1, m] pushes the text

#endif
