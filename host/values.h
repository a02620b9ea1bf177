// How JSON and YAML values are kept in Lua: arrays and objects carry a mark (a shared metatable),
// so that [] and {} stay apart; null is the light userdata NULL, as lua-cjson has it.
#ifndef KF_VALUES_H
#define KF_VALUES_H

#include <lua.h>
#include <stdbool.h>

#define KF_ARRAY "json.array"
#define KF_OBJECT "json.object"
enum { KF_MAX_DEPTH = 500 };  // how deep values may nest, in and out

// [-0, +0, m] makes the marks; once per state.
void kf_values_prepare(lua_State *L);

// [-0, +1, -] pushes null.
static inline void kf_push_null(lua_State *L) {
  lua_pushlightuserdata(L, NULL);
}
static inline bool kf_is_null(lua_State *L, int index) {
  return lua_islightuserdata(L, index) && lua_touserdata(L, index) == NULL;
}

// What an encoder writes a table as. An unmarked table is an array when it has an element 1, else
// an object.
enum kf_shape { KF_SHAPE_ARRAY, KF_SHAPE_OBJECT };
// [-0, +0, -] the shape of the table at index; `marked` (may be NULL) tells whether it has a mark.
enum kf_shape kf_shape_of(lua_State *L, int index, bool *marked);

// --- where in a value an error is: $.items[3].name, indices from 0 -----------------------------
struct kf_place {
  const char *key;  // member name, or NULL for an element
  size_t length;
  lua_Integer index;
};
// [-0, +1, m] pushes the path of the places as a text.
void kf_push_path(lua_State *L, const struct kf_place *places, size_t count);

#endif
