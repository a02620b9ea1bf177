// A Lua state for code that is not trusted: no files, processes, environment or network, a limit
// of memory, a deadline for each call. It may be kept over many calls.
//
// The deadline is a timer signal. It arms a hook on the coroutine that runs then, and again until
// the code is out; before that no hook runs. Hooks do not fire inside C, nor in finalizers: so
// setmetatable refuses __gc, and each library function that could be long checks the deadline.
//
// Offers: 1. a sandbox   2. calls   3. values in and out   4. for C functions inside
#ifndef KF_SANDBOX_H
#define KF_SANDBOX_H

#include "state.h"

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

struct kf_sandbox;

// --- 1. a sandbox -------------------------------------------------------------------------------
// NULL when memory is out. `memory` is the limit in bytes for all that the code makes.
struct kf_sandbox *kf_sandbox_new(size_t memory, bool gc_stress);
void kf_sandbox_free(struct kf_sandbox *sandbox);
// Another limit, from now on.
void kf_sandbox_set_limit(struct kf_sandbox *sandbox, size_t memory);

// Its main thread, to put functions into before the first call. Memory may run out there: run
// such code by kf_sandbox_call, or under lua_pcall.
lua_State *kf_sandbox_state(struct kf_sandbox *sandbox);

// --- 2. calls -----------------------------------------------------------------------------------
// [-0, +1, -] on the sandbox's own stack: compiles text (never bytecode) to a function, or leaves
// an error for kf_sandbox_push_error. The deadline counts for the compiler too: what is left of it
// after a load is for the caller to reckon.
int kf_sandbox_load(struct kf_sandbox *sandbox, const char *code, size_t length, const char *name,
                    double seconds);

// [-(nargs+1), +(nresults|1), -] on the sandbox's own stack: calls the function. LUA_OK, or a
// status with an error that kf_sandbox_push_error takes. At the deadline (`seconds` from now) the
// code is stopped, whatever it catches. Calls of different sandboxes may be nested: no inner one
// outlives the deadline of an outer one.
int kf_sandbox_call(struct kf_sandbox *sandbox, int nargs, int nresults, double seconds);

// [-0, +1, m] on `to`: takes the error off the sandbox's stack and pushes it as an error table:
// code "Timeout", "Memory", "Syntax", "Script" or what the code raised, with path and line.
void kf_sandbox_push_error(struct kf_sandbox *sandbox, int status, lua_State *to);

// --- 3. values in and out -----------------------------------------------------------------------
// [-0, +1, v] on `to`: pushes a deep copy of the value at `index` of `from`. Tables keep what they
// share; cycles, functions, userdata and coroutines raise "Value" with a path. Raises only in
// `to`: when that is a sandbox, call it protected.
void kf_sandbox_copy(lua_State *to, lua_State *from, int index);

// --- 4. for C functions inside ------------------------------------------------------------------
// [-0, +0, v] ends the code when its deadline is over; to be called in every long loop.
void kf_sandbox_check(lua_State *L);

// [-0, +0, v] raises the error of memory that is out when `size` more bytes are too many.
void kf_sandbox_check_size(lua_State *L, size_t size);

// The registry table of what `require` may compile inside: name -> {text, chunk name}.
#define KF_SANDBOX_SOURCES "kfhost.sources"

// [-0, +0, m] opens the libraries of a sandbox (host/sandbox_library.c).
void kf_sandbox_open_libraries(lua_State *L);

#endif
