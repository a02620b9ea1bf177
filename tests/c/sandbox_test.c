// The C side of sandboxes: a state that is kept over many calls, and sandboxes inside sandboxes.
#include "error.h"
#include "sandbox.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int count, failures;

static void check(bool ok, const char *name) {
  printf("%sok %d - %s\n", ok ? "" : "not ", ++count, name);
  failures += !ok;
}

// Calls the global function `name` of the sandbox and says whether it ended with the error `code`
// ("" for none).
static bool ends_with(struct kf_sandbox *sandbox, lua_State *host, const char *name, double seconds,
                      const char *code) {
  lua_State *L = kf_sandbox_state(sandbox);
  lua_getglobal(L, name);
  int status = kf_sandbox_call(sandbox, 0, 0, seconds);
  if (status == LUA_OK) return *code == '\0';
  kf_sandbox_push_error(sandbox, status, host);
  lua_getfield(host, -1, "code");
  bool same = strcmp(lua_tostring(host, -1), code) == 0;
  lua_pop(host, 2);
  return same;
}

static void load(struct kf_sandbox *sandbox, const char *code) {
  int status = kf_sandbox_load(sandbox, code, strlen(code), "=kept", 1);
  if (status == LUA_OK) status = kf_sandbox_call(sandbox, 0, 0, 1);
  check(status == LUA_OK, "the code loads and runs");
}

static void test_kept_state(lua_State *host) {
  struct kf_sandbox *sandbox = kf_sandbox_new(4 << 20, false);
  load(sandbox, "n = 0 function add() n = n + 1 end function spin() while true do end end "
                "function grow() local s = 'x' while true do s = s .. s end end "
                "function seven() if n ~= 7 then error 'lost' end end");
  for (int i = 0; i < 7; i++) {
    check(ends_with(sandbox, host, "add", HUGE_VAL, ""), "a call without a deadline ends well");
    check(ends_with(sandbox, host, "spin", 0.01, "Timeout"), "each call has its deadline");
    check(ends_with(sandbox, host, "grow", 5, "Memory"), "each call has the limit of memory");
  }
  check(ends_with(sandbox, host, "seven", 1, ""), "globals are kept");
  check(lua_gettop(kf_sandbox_state(sandbox)) == 0, "nothing stays on the stack");
  kf_sandbox_free(sandbox);
}

// inner(): runs an endless loop in another sandbox, whose own deadline is far away.
static int l_inner(lua_State *L) {
  lua_State *host = lua_touserdata(L, lua_upvalueindex(1));
  struct kf_sandbox *inner = kf_sandbox_new(4 << 20, false);
  load(inner, "function spin() while true do end end");
  check(ends_with(inner, host, "spin", 600, "Timeout"), "the outer deadline stops the inner code");
  kf_sandbox_free(inner);
  return 0;
}

static void test_nesting(lua_State *host) {
  struct kf_sandbox *sandbox = kf_sandbox_new(4 << 20, false);
  lua_State *L = kf_sandbox_state(sandbox);
  lua_pushlightuserdata(L, host);
  lua_pushcclosure(L, l_inner, 1);
  lua_setglobal(L, "inner");
  load(sandbox, "function outer() inner() local x = 1 return x end");
  check(ends_with(sandbox, host, "outer", 0.02, "Timeout"), "the outer code is stopped too");
  kf_sandbox_free(sandbox);
}

static void test_no_memory(void) {
  check(kf_sandbox_new(1000, false) == NULL, "no sandbox without memory for the libraries");
}

int main(void) {
  lua_State *host = luaL_newstate();
  lua_pushcfunction(host, luaopen_kf_errors);
  lua_call(host, 0, 0);
  test_kept_state(host);
  test_nesting(host);
  test_no_memory();
  lua_close(host);
  printf("1..%d\n", count);
  return failures > 0;
}
