// A Lua state as this program sets it up, and the one protected call into it.
//
// Offers: 1. kf_state_new, kf_state_close, kf_state_end   2. kf_call
#ifndef KF_STATE_H
#define KF_STATE_H

#include <lua.h>
#include <lauxlib.h>
#include <setjmp.h>
#include <stdbool.h>

// Registry key of the table of options for connections (--context and the like), set by main.c.
#define KF_OPTIONS "kfhost.options"

struct kf_loop;
struct kf_scheduler;

// What every C function can reach from its lua_State (by kf_host); one per Lua state.
struct host {
  struct kf_loop *loop;
  struct kf_scheduler *scheduler;
  lua_State *volatile running;  // the coroutine that runs now, or NULL; signal handlers read it
  bool orphaned_failure;  // a task failed, and nobody can wait for it any more
  jmp_buf *ending;  // where kf_state_end goes on once the last thing is closed
  bool gc_stress;  // collect garbage all the time (kfhost --gc-stress)
};

// A trusted state with its loop and tasks: Lua's libraries, text chunks only, no relative entries
// in package.path and cpath, `require` through scripts.h. NULL when memory is out.
lua_State *kf_state_new(struct host *host);
void kf_state_close(lua_State *L);

// The same for a program that ends: everything is closed, but the memory of a large heap is left to the
// system, which takes it back at once. Nothing of the state may be used any more.
void kf_state_end(lua_State *L);

// [-0, +0, -] the host of a state; also right in coroutines.
struct host *kf_host(lua_State *L);

// [-(nargs+1), +(nresults|1), -] calls a function with a traceback handler: LUA_OK, or a status
// with the error on the stack: an error table keeps its identity and gets `traceback`, any
// other value becomes a text with the traceback appended.
int kf_call(lua_State *L, int nargs, int nresults);

#endif
