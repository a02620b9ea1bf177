// kube.quantity: quantities as values that can be added, compared and printed.
#include "kube.h"

#include "base/number.h"
#include "base/quantity.h"
#include "error.h"

#include <lauxlib.h>
#include <string.h>

#define TYPE_QUANTITY "kfhost.kube.quantity"

static struct kf_quantity *push_quantity(lua_State *L) {
  struct kf_quantity *quantity = lua_newuserdatauv(L, sizeof *quantity, 0);
  memset(quantity, 0, sizeof *quantity);
  luaL_setmetatable(L, TYPE_QUANTITY);
  return quantity;
}

// [-0, +1, e] the value at index as a quantity: one already, a text, or a number.
static const struct kf_quantity *to_quantity(lua_State *L, int index) {
  struct kf_quantity *quantity = luaL_testudata(L, index, TYPE_QUANTITY);
  char number[KF_NUMBER_SIZE];
  size_t length;
  if (quantity) {
    lua_pushvalue(L, index);
    return quantity;
  }
  const char *text;
  if (lua_isinteger(L, index)) {
    length = kf_number_write_integer(number, lua_tointeger(L, index));
    text = number;
  } else if (lua_type(L, index) == LUA_TNUMBER) {
    length = kf_number_write(number, lua_tonumber(L, index));
    text = number;
  } else {
    text = luaL_checklstring(L, index, &length);
  }
  quantity = push_quantity(L);
  const char *problem = kf_quantity_read(quantity, text, length);
  if (problem) kf_fail(L, "Quantity", "%s", problem);
  return quantity;
}

int kf_quantity_new(lua_State *L) {
  luaL_checkany(L, 1);
  to_quantity(L, 1);
  return 1;
}

static int combine(lua_State *L, bool subtract) {
  const struct kf_quantity *a = to_quantity(L, 1), *b = to_quantity(L, 2);
  if (!kf_quantity_add(push_quantity(L), a, b, subtract)) return kf_fail(L, "Quantity", "the sum has too many digits");
  return 1;
}

static int l_add(lua_State *L) {
  return combine(L, false);
}

static int l_sub(lua_State *L) {
  return combine(L, true);
}

static int compare(lua_State *L) {
  const struct kf_quantity *a = to_quantity(L, 1), *b = to_quantity(L, 2);
  return kf_decimal_compare(&a->amount, &b->amount);
}

// q:cmp(other) -> -1, 0 or 1
static int l_cmp(lua_State *L) {
  lua_pushinteger(L, compare(L));
  return 1;
}

static int l_eq(lua_State *L) {
  lua_pushboolean(L, compare(L) == 0);
  return 1;
}

static int l_lt(lua_State *L) {
  lua_pushboolean(L, compare(L) < 0);
  return 1;
}

static int l_le(lua_State *L) {
  lua_pushboolean(L, compare(L) <= 0);
  return 1;
}

static int l_neg(lua_State *L) {
  const struct kf_quantity *quantity = to_quantity(L, 1);
  struct kf_quantity *negated = push_quantity(L);
  *negated = *quantity;
  negated->kept[0] = '\0';
  if (negated->amount.count > 0) negated->amount.negative = !negated->amount.negative;
  return 1;
}

static int push_scaled(lua_State *L, int32_t scale) {
  int64_t integer;
  if (!kf_decimal_integer(&to_quantity(L, 1)->amount, scale, &integer))
    return kf_fail(L, "Quantity", "it does not fit an int64");
  lua_pushinteger(L, integer);
  return 1;
}

// q:value() -> the number, rounded away from zero; q:milli() -> a thousand times the number, the same
static int l_value(lua_State *L) {
  return push_scaled(L, 0);
}

static int l_milli(lua_State *L) {
  return push_scaled(L, -3);
}

// q:integer() -> the number, or nil when it is none or does not fit
static int l_integer(lua_State *L) {
  struct kf_decimal whole = to_quantity(L, 1)->amount;
  int64_t integer;
  if (!kf_decimal_round_up(&whole, 0) || !kf_decimal_integer(&whole, 0, &integer)) return 0;
  lua_pushinteger(L, integer);
  return 1;
}

static int l_sign(lua_State *L) {
  const struct kf_decimal *amount = &to_quantity(L, 1)->amount;
  lua_pushinteger(L, amount->count == 0 ? 0 : amount->negative ? -1 : 1);
  return 1;
}

// q:format() -> "DecimalSI", "BinarySI" or "DecimalExponent"
static int l_format(lua_State *L) {
  static const char *const names[] = {"DecimalSI", "BinarySI", "DecimalExponent"};
  lua_pushstring(L, names[to_quantity(L, 1)->format]);
  return 1;
}

static int l_text(lua_State *L) {
  char text[KF_QUANTITY_TEXT];
  size_t length = kf_quantity_write(to_quantity(L, 1), text);
  lua_pushlstring(L, text, length);
  return 1;
}

static const luaL_Reg methods[] = {
    {"add", l_add},     {"sub", l_sub},         {"cmp", l_cmp},   {"value", l_value},   {"milli", l_milli},
    {"text", l_text},   {"integer", l_integer}, {"sign", l_sign}, {"format", l_format}, {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__add", l_add}, {"__sub", l_sub}, {"__eq", l_eq},        {"__lt", l_lt},
                                       {"__le", l_le},   {"__unm", l_neg}, {"__tostring", l_text}, {NULL, NULL}};

void kf_quantity_prepare(lua_State *L) {
  luaL_newmetatable(L, TYPE_QUANTITY);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "quantity");
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
