// The bundled scripts and where a user's own come before them.
// Search order: --scripts DIR, KFHOST_PATH (colon-separated), the user's data directory
// (${XDG_DATA_HOME:-~/.local/share}/kfhost/scripts), the embedded copy; never the working directory.
//
// A file that was ejected (kfhost scripts eject) begins with `-- kfhost VERSION SHA256 PATH`; when the
// embedded file has changed since, loading it warns once.
//
// Offers: 1. the embedded files   2. finding and loading one   3. `require` over them
//         4. the Lua module `scripts`
#ifndef KF_SCRIPTS_H
#define KF_SCRIPTS_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

struct kf_embedded_file {
  const char *name;  // relative to scripts/, for instance "lib/kale/steps.lua"
  const char *begin;  // its text
  const char *end;
  const char *chunk;  // the text as bytecode, made by the build; NULL for what is no script of `require`
  const char *chunk_end;
};
extern const struct kf_embedded_file kf_embedded[];  // sorted by name
extern const size_t kf_embedded_count;

// The embedded file of that name, or NULL.
const struct kf_embedded_file *kf_embedded_find(const char *name);

// Puts DIR before all other places of the search (the option --scripts); dir is not copied.
void kf_scripts_prepend(const char *dir);

// From now on only DIR of --scripts may stand before the embedded files: for programs that serve
// others, where the environment must not decide what runs.
void kf_scripts_named_only(void);

// [-0, +(0|1), e] loads the script NAME ("cmd/kale.lua") from the first place that has it: from disk
// as text only, the embedded one from the bytecode that the build made of it; the chunk is named @PATH or @kfhost/NAME. false and nothing pushed when no place has it; a file
// that does not compile raises.
bool kf_scripts_load(lua_State *L, const char *name);

// [-0, +0, e] `require` looks in package.preload, then here (lib/NAME.lua, lib/NAME/init.lua, and
// for names that begin with "cmd." NAME.lua), then in the C modules, then in package.path. A script
// cannot take the place of a C module.
void kf_scripts_install(lua_State *L);

int luaopen_kf_scripts(lua_State *L);

#endif
