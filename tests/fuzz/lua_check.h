// For targets whose check is a Lua function of the input, which raises when something is wrong.
#ifndef FUZZ_LUA_CHECK_H
#define FUZZ_LUA_CHECK_H

#include "state.h"

#include <lauxlib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// A state of the whole host, at whose bottom is the function that the code returns.
static inline lua_State *start_host(const char *code) {
  static struct host host;
  lua_State *L = kf_state_new(&host);
  if (!L || luaL_dostring(L, code) != LUA_OK) abort();
  return L;
}

// Hands the input to the function at the bottom of the state that `start` makes the first time.
static inline int check_input(lua_State *(*start)(void), const uint8_t *data, size_t size) {
  static lua_State *L;
  if (!L) L = start();
  lua_settop(L, 1);
  lua_pushvalue(L, 1);
  lua_pushlstring(L, (const char *)data, size);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
    abort();
  }
  return 0;
}

#endif
