// require "katib.core": the numbers behind katib.suggest that Lua is too slow for.
#include "gp.h"

#include "error.h"

#include <lauxlib.h>
#include <math.h>

#define KF_TYPE_GP "kfhost.gp"

// [-0, +0, e] reads {{…} …} as rows of `dims` numbers.
static void read_rows(lua_State *L, int index, double *rows, size_t count, size_t dims) {
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);  // row
    luaL_checktype(L, -1, LUA_TTABLE);
    for (size_t d = 0; d < dims; d++) {
      lua_rawgeti(L, -1, (lua_Integer)d + 1);  // row number
      rows[i * dims + d] = luaL_checknumber(L, -1);
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
}

static void read_numbers(lua_State *L, int index, double *numbers, size_t count) {
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);  // number
    numbers[i] = luaL_checknumber(L, -1);
    lua_pop(L, 1);
  }
}

static int *read_levels(lua_State *L, int index, size_t dims) {
  int *levels = lua_newuserdatauv(L, dims * sizeof *levels, 0);
  for (size_t d = 0; d < dims; d++) {
    lua_rawgeti(L, index, (lua_Integer)d + 1);  // levels number
    levels[d] = (int)luaL_checkinteger(L, -1);
    lua_pop(L, 1);
  }
  return levels;
}

static struct kf_gp *check(lua_State *L) { return luaL_checkudata(L, 1, KF_TYPE_GP); }

static int free_gp(lua_State *L) {
  kf_gp_free(check(L));
  return 0;
}

// core.gp(points, targets, levels) -> process
static int l_gp(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checktype(L, 3, LUA_TTABLE);
  size_t count = lua_rawlen(L, 1), dims = lua_rawlen(L, 3);
  luaL_argcheck(L, count > 0 && count <= 2000, 1, "1 to 2000 points expected");
  luaL_argcheck(L, dims > 0 && dims <= 1000, 3, "1 to 1000 dimensions expected");
  struct kf_gp *gp = lua_newuserdatauv(L, sizeof *gp, 3);
  *gp = (struct kf_gp){0};
  luaL_setmetatable(L, KF_TYPE_GP);
  double *points = lua_newuserdatauv(L, count * dims * sizeof *points, 0);
  read_rows(L, 1, points, count, dims);
  lua_setiuservalue(L, -2, 1);
  double *targets = lua_newuserdatauv(L, count * sizeof *targets, 0);
  read_numbers(L, 2, targets, count);
  lua_setiuservalue(L, -2, 2);
  const int *levels = read_levels(L, 3, dims);
  lua_setiuservalue(L, -2, 3);
  if (!kf_gp_start(gp, count, dims)) return luaL_error(L, "not enough memory");
  gp->points = points;
  gp->targets = targets;
  gp->levels = levels;
  if (!kf_gp_fit(gp)) return kf_fail(L, "Space", "the trials fit no model");
  return 1;
}

static const double *check_point(lua_State *L, const struct kf_gp *gp, int index) {
  luaL_checktype(L, index, LUA_TTABLE);
  double *point = lua_newuserdatauv(L, gp->dims * sizeof *point, 0);
  read_numbers(L, index, point, gp->dims);
  return point;
}

// process:predict(point) -> mean, deviation
static int l_predict(lua_State *L) {
  struct kf_gp *gp = check(L);
  double mean, deviation;
  kf_gp_predict(gp, check_point(L, gp, 2), &mean, &deviation);
  lua_pushnumber(L, mean);
  lua_pushnumber(L, deviation);
  return 2;
}

// process:propose(criterion, best, seed) -> point
static int l_propose(lua_State *L) {
  static const char *const names[] = {"EI", "LCB", "PI", NULL};
  struct kf_gp *gp = check(L);
  int criterion = luaL_checkoption(L, 2, "EI", names);
  double best = luaL_checknumber(L, 3);
  uint64_t seed = (uint64_t)luaL_checkinteger(L, 4);
  double *point = lua_newuserdatauv(L, gp->dims * sizeof *point, 0);
  if (!kf_gp_propose(gp, (enum kf_gp_criterion)criterion, best, seed, point))
    return luaL_error(L, "not enough memory");
  lua_createtable(L, (int)gp->dims, 0);
  for (size_t d = 0; d < gp->dims; d++) {
    lua_pushnumber(L, point[d]);
    lua_rawseti(L, -2, (lua_Integer)d + 1);
  }
  return 1;
}

static const luaL_Reg methods[] = {{"predict", l_predict}, {"propose", l_propose}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"gp", l_gp}, {NULL, NULL}};

int luaopen_kf_katib(lua_State *L);
int luaopen_kf_katib(lua_State *L) {
  luaL_newmetatable(L, KF_TYPE_GP);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, free_gp);
  lua_setfield(L, -2, "__gc");
  lua_pushliteral(L, "Gaussian process");
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
