// The C modules that `require` finds: name and open function, ended by NULL. The list is made by
// the build from the folders of modules/, so that the host includes no header of a module.
#ifndef KF_REGISTRY_H
#define KF_REGISTRY_H

#include <lua.h>
#include <lauxlib.h>

extern const luaL_Reg kf_registry[];

#endif
