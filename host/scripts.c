#include "scripts.h"

#include "error.h"
#include "program.h"
#include "registry.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <link.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIGEST_TEXT (2 * SHA256_DIGEST_LENGTH + 1)

static const char *first_place;
static bool named_only;

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

void kf_scripts_named_only(void) {
  named_only = true;
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

// The user's own folder of scripts; false when there is no home.
static bool user_directory(char dir[PATH_MAX]) {
  const char *base = getenv("XDG_DATA_HOME");
  const char *home = getenv("HOME");
  int length;
  if (base && base[0] == '/') length = snprintf(dir, PATH_MAX, "%s/kfhost/scripts", base);
  else if (home && home[0] == '/')
    length = snprintf(dir, PATH_MAX, "%s/.local/share/kfhost/scripts", home);
  else return false;
  return length < PATH_MAX;
}

static bool try_data_home(char path[PATH_MAX], const char *name) {
  char dir[PATH_MAX];
  return user_directory(dir) && try_place(path, dir, strlen(dir), name);
}

// Writes where the script is on disk to path and gives the name of that place; NULL when nowhere.
static const char *find_on_disk(char path[PATH_MAX], const char *name) {
  if (first_place && try_place(path, first_place, strlen(first_place), name)) return "--scripts";
  if (named_only) return NULL;
  if (try_list(path, getenv("KFHOST_PATH"), name)) return "KFHOST_PATH";
  return try_data_home(path, name) ? "user" : NULL;
}

// --- ejected files --------------------------------------------------------------------------

static void digest(const struct kf_embedded_file *file, char text[DIGEST_TEXT]) {
  unsigned char bytes[SHA256_DIGEST_LENGTH];
  SHA256((const unsigned char *)file->begin, (size_t)(file->end - file->begin), bytes);
  for (size_t i = 0; i < sizeof bytes; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

// Whether the file at path says that it was ejected from another text than the embedded one.
static bool is_outdated(const char *path, const char *name) {
  char version[32], was[DIGEST_TEXT], now[DIGEST_TEXT], line[256];
  const struct kf_embedded_file *file = kf_embedded_find(name);
  FILE *stream = file ? fopen(path, "re") : NULL;
  if (!stream) return false;
  const char *read = fgets(line, sizeof line, stream);
  fclose(stream);
  const char *heading = read ? line + strspn(line, "-#") : "";  // -- in Lua, # in Python
  int fields = sscanf(heading, " kfhost %31s %64[0-9a-f] ", version, was);
  if (fields != 2 || strlen(was) != DIGEST_TEXT - 1) return false;  // not a header of ours
  digest(file, now);
  return strcmp(was, now) != 0;
}

static void warn_once(lua_State *L, const char *path, const char *name) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, "kfhost.outdated");
  if (lua_getfield(L, -1, path) == LUA_TNIL) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -3, path);
    fprintf(stderr, "kfhost: %s was ejected from another version of %s; see kfhost scripts diff %s\n",
            path, name, name);
  }
  lua_pop(L, 2);
}

// --- loading --------------------------------------------------------------------------------

// Where an address of this program is in its file.
struct place {
  uintptr_t address;
  off_t offset;
};

static int find_segment(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  struct place *place = data;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
    uintptr_t start = info->dlpi_addr + segment->p_vaddr;
    if (segment->p_type != PT_LOAD || place->address - start >= segment->p_filesz) continue;
    place->offset = (off_t)(segment->p_offset + (place->address - start));
    return 1;
  }
  return 1;  // the program itself comes first; only that is asked
}

// The program's own file, to be read at the place of an address; -1 when it is not to be had. What is
// read where it is mapped would map up to a megabyte around it: the kernel maps what lies together in
// its cache.
static int open_at(const char *begin, off_t *offset) {
  struct place place = {(uintptr_t)begin, -1};
  dl_iterate_phdr(find_segment, &place);
  *offset = place.offset;
  return place.offset < 0 ? -1 : kf_program_open();
}

static bool read_from_file(const struct kf_embedded_file *file, char *buffer) {
  off_t offset;
  int fd = open_at(file->begin, &offset);
  if (fd < 0) return false;
  size_t size = (size_t)(file->end - file->begin);
  bool whole = pread(fd, buffer, size, offset) == (ssize_t)size;
  close(fd);
  return whole;
}

// [-0, +1, m] pushes something that owns the text which is given back
static const char *push_text(lua_State *L, const struct kf_embedded_file *file) {
  char *buffer = lua_newuserdatauv(L, (size_t)(file->end - file->begin) + 1, 0);
  return read_from_file(file, buffer) ? buffer : file->begin;
}

// Where the reading of a chunk is; without a descriptor it is read where it is mapped.
struct reading {
  const char *at, *end;
  int fd;
  off_t offset;
  char piece[4096];
};

static const char *read_piece(lua_State *L, void *data, size_t *size) {
  (void)L;
  struct reading *reading = data;
  const char *at = reading->at;
  *size = (size_t)(reading->end - at);
  if (reading->fd >= 0) {
    if (*size > sizeof reading->piece) *size = sizeof reading->piece;
    ssize_t length = pread(reading->fd, reading->piece, *size, reading->offset);
    if (length == (ssize_t)*size) at = reading->piece;
    reading->offset += (off_t)*size;
  }
  reading->at += *size;
  return *size > 0 ? at : NULL;
}

// [-0, +1, e] pushes the function of an embedded script
static void load_embedded(lua_State *L, const struct kf_embedded_file *file) {
  const char *name = lua_pushfstring(L, "@kfhost/%s", file->name);
  int status;
  if (file->chunk) {
    struct reading reading = {.at = file->chunk, .end = file->chunk_end};
    reading.fd = open_at(file->chunk, &reading.offset);
    status = lua_load(L, read_piece, &reading, name, "b");
    if (reading.fd >= 0) close(reading.fd);
    lua_replace(L, -2);
  } else {
    const char *text = push_text(L, file);  // name owner
    status = luaL_loadbufferx(L, text, (size_t)(file->end - file->begin), name, "t");
    lua_replace(L, -3);
    lua_pop(L, 1);
  }
  if (status != LUA_OK) lua_error(L);
}

bool kf_scripts_load(lua_State *L, const char *name) {
  char path[PATH_MAX];
  if (find_on_disk(path, name)) {
    if (is_outdated(path, name)) warn_once(L, path, name);
    if (luaL_loadfilex(L, path, "t") != LUA_OK) lua_error(L);
    return true;
  }
  const struct kf_embedded_file *file = kf_embedded_find(name);
  if (!file) return false;
  load_embedded(L, file);
  return true;
}

// --- require --------------------------------------------------------------------------------

static lua_CFunction find_linked(const char *module) {
  for (const luaL_Reg *entry = kf_registry; entry->name; entry++)
    if (strcmp(entry->name, module) == 0) return entry->func;
  return NULL;
}

static int search_scripts(lua_State *L) {
  const char *module = luaL_checkstring(L, 1);
  if (find_linked(module)) return 0;
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
  lua_CFunction open = find_linked(module);
  if (open) {
    lua_pushcfunction(L, open);
    lua_pushliteral(L, ":linked:");
    return 2;
  }
  lua_pushfstring(L, "no linked module '%s'", module);
  return 1;
}

// A file on package.path, as Lua's own searcher finds it; text only. Upvalue: the table package.
static int search_files(lua_State *L) {
  const char *module = luaL_checkstring(L, 1);
  lua_getfield(L, lua_upvalueindex(1), "searchpath");
  lua_pushvalue(L, 1);
  lua_getfield(L, lua_upvalueindex(1), "path");
  lua_call(L, 2, 2);
  if (lua_isnil(L, -2)) return 1;
  lua_pop(L, 1);
  const char *path = lua_tostring(L, -1);
  if (luaL_loadfilex(L, path, "t") != LUA_OK)
    return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s", module, path, lua_tostring(L, -1));
  lua_insert(L, -2);
  return 2;
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
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, search_files, 1);
  lua_rawseti(L, -2, 4);
  lua_pop(L, 2);
}

// --- the Lua module -----------------------------------------------------------------------------

// scripts.names() -> names of the embedded files, sorted
static int l_names(lua_State *L) {
  lua_createtable(L, (int)kf_embedded_count, 0);
  for (size_t i = 0; i < kf_embedded_count; i++) {
    lua_pushstring(L, kf_embedded[i].name);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static const struct kf_embedded_file *check_embedded(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const struct kf_embedded_file *file = kf_embedded_find(name);
  if (!file) kf_fail(L, "NotFound", "no bundled script '%s'", name);
  return file;
}

// scripts.source(name) -> the embedded text
static int l_source(lua_State *L) {
  const struct kf_embedded_file *file = check_embedded(L);
  lua_pushlstring(L, push_text(L, file), (size_t)(file->end - file->begin));
  return 1;
}

// scripts.digest(name) -> SHA-256 of the embedded text, in hexadecimal
static int l_digest(lua_State *L) {
  char text[DIGEST_TEXT];
  digest(check_embedded(L), text);
  lua_pushstring(L, text);
  return 1;
}

// scripts.override(name) -> path and place of the file that stands before the embedded one, or nil
static int l_override(lua_State *L) {
  char path[PATH_MAX];
  const char *place = find_on_disk(path, luaL_checkstring(L, 1));
  if (!place) return 0;
  lua_pushstring(L, path);
  lua_pushstring(L, place);
  return 2;
}

// scripts.is_outdated(path, name) -> whether that file was ejected from another version
static int l_is_outdated(lua_State *L) {
  lua_pushboolean(L, is_outdated(luaL_checkstring(L, 1), luaL_checkstring(L, 2)));
  return 1;
}

// scripts.user_directory() -> where the user's own scripts lie
static int l_user_directory(lua_State *L) {
  char dir[PATH_MAX];
  if (!user_directory(dir)) return kf_fail(L, "NotFound", "no home directory: set HOME or XDG_DATA_HOME");
  lua_pushstring(L, dir);
  return 1;
}

// scripts.linked() -> names of the modules that are linked in
static int l_linked(lua_State *L) {
  lua_newtable(L);
  lua_Integer count = 0;
  for (const luaL_Reg *entry = kf_registry; entry->name; entry++) {
    lua_pushstring(L, entry->name);
    lua_rawseti(L, -2, ++count);
  }
  return 1;
}

static const luaL_Reg functions[] = {
    {"names", l_names},       {"source", l_source},           {"digest", l_digest},
    {"override", l_override}, {"is_outdated", l_is_outdated}, {"user_directory", l_user_directory},
    {"linked", l_linked},     {NULL, NULL},
};

int luaopen_kf_scripts(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
