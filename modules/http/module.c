// require "http.core": what scripts/lib/http.lua is built from.
#include "http.h"

#include <lauxlib.h>

static const luaL_Reg session_methods[] = {{"request", kf_session_request},
                                           {"start", kf_session_start},
                                           {"connect", kf_session_connect},
                                           {"close", kf_session_close},
                                           {NULL, NULL}};

static const luaL_Reg functions[] = {{"session", kf_session_new}, {NULL, NULL}};

static void set_methods(lua_State *L, const char *type, const luaL_Reg *methods,
                        lua_CFunction close) {
  luaL_newmetatable(L, type);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
}

int luaopen_kf_http(lua_State *L);
int luaopen_kf_http(lua_State *L) {
  set_methods(L, KF_TYPE_SESSION, session_methods, kf_session_close);
  set_methods(L, KF_TYPE_TRANSFER, kf_transfer_methods, kf_transfer_close);
  luaL_newlib(L, functions);
  return 1;
}
