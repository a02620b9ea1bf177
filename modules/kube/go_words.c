// Values in the words of Go's fmt package, for texts that must be those of Kubernetes.
#include "kube.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Go's %v: the shortest digits, with an exponent below 1e-4 and from 1e6 on, of two digits at least.
size_t kf_go_double(char out[KF_NUMBER_SIZE], double number) {
  if (isnan(number)) return (size_t)snprintf(out, KF_NUMBER_SIZE, "NaN");
  if (isinf(number)) return (size_t)snprintf(out, KF_NUMBER_SIZE, number > 0 ? "+Inf" : "-Inf");
  int digits = 1;
  char text[KF_NUMBER_SIZE];
  do snprintf(text, sizeof text, "%.*e", digits - 1, number);
  while (digits++ < 17 && strtod(text, NULL) != number);
  int exponent = atoi(strchr(text, 'e') + 1);
  if (exponent < -4 || exponent >= 6) return (size_t)snprintf(out, KF_NUMBER_SIZE, "%s", text);
  int decimals = digits - 2 - exponent;
  return (size_t)snprintf(out, KF_NUMBER_SIZE, "%.*f", decimals > 0 ? decimals : 0, number);
}

static void add_go(luaL_Buffer *text, lua_State *L, const struct kf_node *node);

static void add_text(luaL_Buffer *text, const char *bytes, size_t length) {
  luaL_addlstring(text, bytes, length);
}

static void add_go_list(luaL_Buffer *text, lua_State *L, const struct kf_node *node) {
  luaL_addchar(text, '[');
  for (size_t i = 0; i < node->count; i++) {
    if (i > 0) luaL_addchar(text, ' ');
    add_go(text, L, node->items[i]);
  }
  luaL_addchar(text, ']');
}

static void add_go_map(luaL_Buffer *text, lua_State *L, const struct kf_node *node) {
  luaL_addstring(text, "map[");
  for (size_t i = 0; i < node->count; i++) {
    if (i > 0) luaL_addchar(text, ' ');
    add_text(text, node->members[i].key, node->members[i].length);
    luaL_addchar(text, ':');
    add_go(text, L, node->members[i].value);
  }
  luaL_addchar(text, ']');
}

// Go's %v
static void add_go(luaL_Buffer *text, lua_State *L, const struct kf_node *node) {
  char number[KF_NUMBER_SIZE];
  switch (node->kind) {
  case KF_NULL: luaL_addstring(text, "<nil>"); break;
  case KF_BOOL: luaL_addstring(text, node->boolean ? "true" : "false"); break;
  case KF_INTEGER: add_text(text, number, kf_number_write_integer(number, node->integer)); break;
  case KF_DOUBLE: add_text(text, number, kf_go_double(number, node->number)); break;
  case KF_TEXT: add_text(text, node->text, node->count); break;
  case KF_LIST: add_go_list(text, L, node); break;
  case KF_MAP: add_go_map(text, L, node); break;
  }
}

void kf_go_value(lua_State *L, const struct kf_node *node) {
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  add_go(&text, L, node);
  luaL_pushresult(&text);
}
