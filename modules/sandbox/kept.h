// A sandbox that is kept over many calls, as a Lua object (docs/api/sandbox.lua says how it is used).
#ifndef KF_SANDBOX_KEPT_H
#define KF_SANDBOX_KEPT_H

#include <lua.h>

enum { KF_SANDBOX_MEMORY = 64 << 20, KF_SANDBOX_LEAST_MEMORY = 256 << 10 };

// [-0, +0, m] makes the metatable; once per state.
void kf_sandbox_open_prepare(lua_State *L);

// sandbox.open{memory=, modules=} -> sandbox
int kf_sandbox_open(lua_State *L);

#endif
