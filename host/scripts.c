#include "scripts.h"

#include "error.h"
#include "registry.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *first_place;

const struct kf_embedded_file *kf_embedded_find(const char *name) {
  size_t low = 0, high = kf_embedded_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = strcmp(name, kf_embedded[middle].name);
    if (order == 0) return &kf_embedded[middle];
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return NULL;
}

void kf_scripts_prepend(const char *dir) {
  first_place = dir;
}

// --- places on disk -------------------------------------------------------------------------

// Writes DIR/NAME to path; false when it is too long or no readable file.
static bool try_place(char path[PATH_MAX], const char *dir, size_t dir_length, const char *name) {
  int length = snprintf(path, PATH_MAX, "%.*s/%s", (int)dir_length, dir, name);
  return length > 0 && length < PATH_MAX && access(path, R_OK) == 0;
}

static bool try_list(char path[PATH_MAX], const char *list, const char *name) {
  while (list && *list) {
    size_t length = strcspn(list, ":");
    // A relative entry would depend on the working directory: it is passed over.
    if (list[0] == '/' && try_place(path, list, length, name)) return true;
    list += length + (list[length] == ':');
  }
  return false;
}

static bool try_data_home(char path[PATH_MAX], const char *name) {
  char dir[PATH_MAX];
  const char *base = getenv("XDG_DATA_HOME");
  const char *home = getenv("HOME");
  int length;
  if (base && base[0] == '/') length = snprintf(dir, sizeof dir, "%s/kfhost/scripts", base);
  else if (home && home[0] == '/')
    length = snprintf(dir, sizeof dir, "%s/.local/share/kfhost/scripts", home);
  else return false;
  return length < PATH_MAX && try_place(path, dir, strlen(dir), name);
}

static bool find_on_disk(char path[PATH_MAX], const char *name) {
  if (first_place && try_place(path, first_place, strlen(first_place), name)) return true;
  return try_list(path, getenv("KFHOST_PATH"), name) || try_data_home(path, name);
}

// --- loading --------------------------------------------------------------------------------

bool kf_scripts_load(lua_State *L, const char *name) {
  char path[PATH_MAX];
  if (find_on_disk(path, name)) {
    if (luaL_loadfilex(L, path, "t") != LUA_OK) lua_error(L);
    return true;
  }
  const struct kf_embedded_file *file = kf_embedded_find(name);
  if (!file) return false;
  const char *chunk = lua_pushfstring(L, "@kfhost/%s", name);
  if (luaL_loadbufferx(L, file->begin, (size_t)(file->end - file->begin), chunk, "t") != LUA_OK)
    lua_error(L);
  lua_remove(L, -2);
  return true;
}

// --- require --------------------------------------------------------------------------------

static int search_scripts(lua_State *L) {
  const char *module = luaL_checkstring(L, 1);
  const char *file = luaL_gsub(L, module, ".", "/");
  const char *folder = strncmp(module, "cmd.", 4) == 0 ? "" : "lib/";
  static const char *const patterns[] = {"%s%s.lua", "%s%s/init.lua"};
  for (size_t i = 0; i < 2; i++) {
    const char *name = lua_pushfstring(L, patterns[i], folder, file);
    if (kf_scripts_load(L, name)) {
      lua_pushfstring(L, "kfhost/%s", name);
      return 2;
    }
  }
  lua_pushfstring(L, "no script '%s%s.lua'", folder, file);
  return 1;
}

static int search_registry(lua_State *L) {
  const char *module = luaL_checkstring(L, 1);
  for (const luaL_Reg *entry = kf_registry; entry->name; entry++) {
    if (strcmp(entry->name, module) == 0) {
      lua_pushcfunction(L, entry->func);
      lua_pushliteral(L, ":linked:");
      return 2;
    }
  }
  lua_pushfstring(L, "no linked module '%s'", module);
  return 1;
}

// Drops the entries of the search path package[field] that are relative to the working directory.
static void strip_relative(lua_State *L, const char *field) {
  luaL_Buffer kept;
  lua_getfield(L, -1, field);
  const char *entry = lua_tostring(L, -1);
  luaL_buffinit(L, &kept);
  while (entry && *entry) {
    size_t length = strcspn(entry, ";");
    if (entry[0] == '/') {
      if (luaL_bufflen(&kept) > 0) luaL_addchar(&kept, ';');
      luaL_addlstring(&kept, entry, length);
    }
    entry += length + (entry[length] == ';');
  }
  luaL_pushresult(&kept);
  lua_setfield(L, -3, field);
  lua_pop(L, 1);
}

void kf_scripts_install(lua_State *L) {
  lua_getglobal(L, "package");
  strip_relative(L, "path");
  strip_relative(L, "cpath");
  lua_getfield(L, -1, "searchers");  // package searchers
  for (lua_Integer i = luaL_len(L, -1); i >= 2; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 2);
  }
  lua_pushcfunction(L, search_scripts);
  lua_rawseti(L, -2, 2);
  lua_pushcfunction(L, search_registry);
  lua_rawseti(L, -2, 3);
  lua_pop(L, 2);
}
