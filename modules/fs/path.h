// Paths as texts, for fs.c.
#ifndef KF_FS_PATH_H
#define KF_FS_PATH_H

#include <lua.h>
#include <lauxlib.h>

// [-0, +0, v] the argument as a path without zero bytes.
const char *kf_fs_check_path(lua_State *L, int arg);

int kf_fs_join(lua_State *L);
int kf_fs_basename(lua_State *L);
int kf_fs_dirname(lua_State *L);
int kf_fs_stem(lua_State *L);
int kf_fs_extension(lua_State *L);

#endif
