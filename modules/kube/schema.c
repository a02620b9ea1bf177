#include "schema.h"

#include "schema_types.h"
#include "values.h"

#include <lauxlib.h>
#include <string.h>

// --- lines ------------------------------------------------------------------------------------------

// The line that begins with the name and a blank.
static const char *search(const char *const *lines, size_t count, const char *name, size_t length) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = (low + high) / 2, word = strcspn(lines[middle], " ");
    int order = memcmp(lines[middle], name, word < length ? word : length);
    if (order == 0) order = (word > length) - (word < length);
    if (order == 0) return lines[middle];
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return NULL;
}

static struct kf_span next_word(const char **at) {
  *at += strspn(*at, " ");
  struct kf_span word = {*at, strcspn(*at, " ")};
  *at += word.length;
  return word;
}

const char *kf_schema_type(struct kf_span name) {
  return search(types, sizeof types / sizeof *types, name.at, name.length);
}

static const char *kind_line(const char *kind, size_t length) {
  return search(kinds, sizeof kinds / sizeof *kinds, kind, length);
}

const char *kf_schema_kind(const char *kind, size_t length) {
  const char *line = kind_line(kind, length);
  if (!line) return NULL;
  next_word(&line);
  return kf_schema_type(next_word(&line));
}

// --- fields -----------------------------------------------------------------------------------------

static void read_strategy(struct kf_field *field, struct kf_span note) {
  const char *colon = memchr(note.at, ':', note.length);
  field->strategy = note;
  if (!colon) return;
  field->strategy.length = (size_t)(colon - note.at);
  field->merge_key = (struct kf_span){colon + 1, note.length - field->strategy.length - 1};
}

static void read_note(struct kf_field *field, struct kf_span note) {
  struct kf_span value = {note.at + 2, note.length > 2 ? note.length - 2 : 0};
  switch (note.at[0]) {
  case 's': field->set = true; break;
  case 'A': field->atomic = true; break;
  case 'z': field->written = true; break;
  case 'o': field->left_out = true; break;
  case 'm': field->keys = value; break;
  case 'p': read_strategy(field, value); break;
  default: field->fallback = value;
  }
}

static struct kf_field read_field(struct kf_span word) {
  struct kf_field field = {.name = word};
  const char *end = word.at + word.length, *at = memchr(word.at, ':', word.length);
  field.name.length = (size_t)(at - word.at);
  if (at[-1] == '!') {
    field.required = true;
    field.name.length--;
  }
  const char *slash = memchr(at, '/', (size_t)(end - at));
  field.type = (struct kf_span){at + 1, (size_t)((slash ? slash : end) - at) - 1};
  while (slash) {
    const char *note = slash + 1;
    slash = note[0] == 'd' ? NULL : memchr(note, '/', (size_t)(end - note));  // a default may hold slashes
    read_note(&field, (struct kf_span){note, (size_t)((slash ? slash : end) - note)});
  }
  return field;
}

bool kf_schema_field(const char *line, const char *name, size_t length, struct kf_field *field) {
  next_word(&line);
  next_word(&line);
  for (struct kf_span word = next_word(&line); word.length > 0; word = next_word(&line)) {
    if (word.length <= length || memcmp(word.at, name, length) != 0) continue;
    if (word.at[length] != ':' && word.at[length] != '!') continue;
    *field = read_field(word);
    return true;
  }
  return false;
}

// --- for Lua ----------------------------------------------------------------------------------------

static void set_text(lua_State *L, const char *name, struct kf_span text) {
  if (text.length == 0) return;
  lua_pushlstring(L, text.at, text.length);
  lua_setfield(L, -2, name);
}

static const char *name_of(char letter) {
  static const char letters[] = "sbilfqtudxya[{@";
  static const char *const names[] = {"string",     "boolean",  "int32",         "int64", "float",
                                      "quantity",   "time",     "micro_time",    "duration", "int_or_string",
                                      "bytes",      "any",      "list",          "map",   "struct"};
  const char *found = strchr(letters, letter);
  return found ? names[found - letters] : "any";
}

// [-0, +1, m] {type=, of=, name=}
static void push_type(lua_State *L, struct kf_span type) {
  luaL_checkstack(L, 4, "schema");
  lua_createtable(L, 0, 4);
  lua_pushstring(L, name_of(type.at[0]));
  lua_setfield(L, -2, "type");
  struct kf_span rest = {type.at + 1, type.length - 1};
  if (type.at[0] == '@') {
    set_text(L, "name", rest);
  } else if (rest.length > 0) {
    push_type(L, rest);
    lua_setfield(L, -2, "of");
  }
}

static void set_true(lua_State *L, const char *name, bool value) {
  if (!value) return;
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, name);
}

// [-0, +1, m] the list of keys a,b
static void push_keys(lua_State *L, struct kf_span keys) {
  lua_newtable(L);
  const char *at = keys.at, *end = keys.at + keys.length;
  for (lua_Integer i = 1; at < end; i++) {
    const char *comma = memchr(at, ',', (size_t)(end - at));
    if (!comma) comma = end;
    lua_pushlstring(L, at, (size_t)(comma - at));
    lua_rawseti(L, -2, i);
    at = comma + 1;
  }
}

static void push_field(lua_State *L, const struct kf_field *field) {
  push_type(L, field->type);
  set_true(L, "required", field->required);
  set_true(L, "atomic", field->atomic);
  set_true(L, "written", field->written);
  set_true(L, "left_out", field->left_out);
  set_text(L, "patch_strategy", field->strategy);
  set_text(L, "merge_key", field->merge_key);
  set_text(L, "default", field->fallback);
  if (field->keys.length > 0) {
    push_keys(L, field->keys);
    lua_setfield(L, -2, "keys");
  }
  if (field->type.at[0] == '[') {
    lua_pushstring(L, field->keys.length > 0 ? "map" : field->set ? "set" : "atomic");
    lua_setfield(L, -2, "list");
  }
}

// schema.type(name) -> {name, atomic, fields = {NAME = field}, order = {NAME, …}} or nil
static int l_type(lua_State *L) {
  struct kf_span name;
  name.at = luaL_checklstring(L, 1, &name.length);
  const char *line = kf_schema_type(name);
  if (!line) return 0;
  lua_newtable(L);
  set_text(L, "name", next_word(&line));
  set_true(L, "atomic", *next_word(&line).at == 'A');
  lua_newtable(L);  // type fields
  lua_newtable(L);  // type fields order
  lua_Integer count = 0;
  for (struct kf_span word = next_word(&line); word.length > 0; word = next_word(&line)) {
    struct kf_field field = read_field(word);
    lua_pushlstring(L, field.name.at, field.name.length);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, ++count);
    push_field(L, &field);  // type fields order name field
    lua_rawset(L, -4);
  }
  lua_setfield(L, -3, "order");
  lua_setfield(L, -2, "fields");
  return 1;
}

// schema.kind("apps/v1/Deployment") -> the name of its type, "namespace" | "cluster"; or nil
static int l_kind(lua_State *L) {
  size_t length;
  const char *kind = luaL_checklstring(L, 1, &length);
  const char *line = kind_line(kind, length);
  if (!line) return 0;
  next_word(&line);
  struct kf_span name = next_word(&line);
  lua_pushlstring(L, name.at, name.length);
  lua_pushstring(L, *next_word(&line).at == 'c' ? "cluster" : "namespace");
  return 2;
}

// schema.kinds() -> the list of kinds
static int l_kinds(lua_State *L) {
  size_t count = sizeof kinds / sizeof *kinds;
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_pushlstring(L, kinds[i], strcspn(kinds[i], " "));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

int kf_schema_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"type", l_type}, {"kind", l_kind}, {"kinds", l_kinds}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
