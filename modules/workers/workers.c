// require "workers": the processes of a service, from within: which of them this is, what the others
// do, what they publish. See host/supervise.h.
#include "supervise.h"

#include "error.h"
#include "lockdown.h"
#include "program.h"

#include <arpa/inet.h>
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct kf_slot *check_own(lua_State *L) {
  struct kf_slot *slot = kf_own_slot();
  if (!slot) luaL_error(L, "this process has no supervisor");
  return slot;
}

static uint64_t nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

// --- this process -------------------------------------------------------------------------------

static void push_role(lua_State *L, enum kf_role role) {
  lua_pushstring(L, role == KF_ROLE_WORKER ? "worker" : "controller");
}

// workers.role() -> "controller" | "worker", nil without a supervisor
static int l_role(lua_State *L) {
  struct kf_slot *slot = kf_own_slot();
  if (!slot) return 0;
  push_role(L, slot->role);
  return 1;
}

// workers.ready(): it can serve
static int l_ready(lua_State *L) {
  check_own(L)->ready = true;
  if (write(kf_shared()->wake_fd, "!", 1) < 0) errno = 0;  // it looks by itself, a little later
  return 0;
}

// workers.claim() -> whether this process is the one that reads and publishes the sources, of all
// that are to have the same
static int l_claim(lua_State *L) {
  struct kf_slot *slot = check_own(L);
  _Atomic unsigned *claimed = &kf_shared()->claimed[slot->place];
  unsigned before = *claimed;
  lua_pushboolean(L, before != slot->load &&
                         atomic_compare_exchange_strong(claimed, &before, slot->load));
  return 1;
}

// workers.reload(): asks for what SIGHUP asks for
static int l_reload(lua_State *L) {
  check_own(L);
  kf_shared()->reload = true;
  if (write(kf_shared()->wake_fd, "!", 1) < 0) errno = 0;
  return 0;
}

// workers.draining() -> whether it is to finish and end
static int l_draining(lua_State *L) {
  lua_pushboolean(L, check_own(L)->drain);
  return 1;
}

// workers.begin(seconds, label, …): is busy with what the labels say, and is killed when it still
// is after that time
static int l_begin(lua_State *L) {
  struct kf_slot *slot = check_own(L);
  double seconds = luaL_checknumber(L, 1);
  size_t used = 0;
  for (int i = 2; i <= lua_gettop(L) && used < KF_LABEL; i++) {
    const char *part = luaL_checkstring(L, i);
    int count = snprintf(slot->label + used, KF_LABEL - used, "%s", part);
    used += count > 0 ? (size_t)count : 0;
  }
  if (used < KF_LABEL) slot->label[used] = '\0';
  slot->busy_until = nanoseconds() + (uint64_t)(seconds * 1e9);
  return 0;
}

// workers.done(): is busy no more
static int l_done(lua_State *L) {
  check_own(L)->busy_until = 0;
  return 0;
}

// workers.listener("webhook" | "operations") -> descriptor of its own
static int l_listener(lua_State *L) {
  static const char *const names[] = {"webhook", "operations", NULL};
  check_own(L);
  int fds[] = {kf_shared()->webhook_fd, kf_shared()->operations_fd};
  int fd = dup(fds[luaL_checkoption(L, 1, NULL, names)]);
  if (fd < 0) return kf_fail_errno(L, errno, "use", "the listening socket");
  lua_pushinteger(L, fd);
  return 1;
}

// workers.port("webhook" | "operations") -> its port
static int l_port(lua_State *L) {
  static const char *const names[] = {"webhook", "operations", NULL};
  check_own(L);
  int fds[] = {kf_shared()->webhook_fd, kf_shared()->operations_fd};
  union {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
  } name = {0};
  socklen_t length = sizeof name;
  int fd = fds[luaL_checkoption(L, 1, NULL, names)];
  if (getsockname(fd, &name.any, &length) != 0)
    return kf_fail_errno(L, errno, "use", "the listening socket");
  bool six = name.any.sa_family == AF_INET6;
  lua_pushinteger(L, ntohs(six ? name.six.sin6_port : name.four.sin_port));
  return 1;
}

// --- what is published --------------------------------------------------------------------------

// The name of a box, or the number of a slot for its report.
static struct kf_box *check_box(lua_State *L, int arg) {
  static const char *const names[] = {"certificate", "cache", "sources", "paths", "totals",
                                      "report", NULL};
  struct kf_slot *slot = check_own(L);
  struct kf_shared *shared = kf_shared();
  if (lua_isinteger(L, arg)) {
    lua_Integer number = lua_tointeger(L, arg);
    luaL_argcheck(L, number >= 1 && number <= KF_SLOTS, arg, "number of a slot expected");
    return &shared->slots[number - 1].report;
  }
  struct kf_box *boxes[] = {&shared->certificate, &shared->cache, &shared->sources[slot->place],
                            &shared->paths, &shared->totals, &slot->report};
  return boxes[luaL_checkoption(L, arg, NULL, names)];
}

// workers.publish(box, text)
static int l_publish(lua_State *L) {
  struct kf_box *box = check_box(L, 1);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  if (!kf_box_publish(box, text, length))
    return kf_fail(L, "TooLarge", "%d bytes are more than can be published", (int)length);
  return 0;
}

// workers.read(box, version) -> text, version; nil when there is nothing newer than that version
static int l_read(lua_State *L) {
  const struct kf_box *box = check_box(L, 1);
  uint64_t version = atomic_load(&box->version);
  if (version == 0 || version == (uint64_t)luaL_optinteger(L, 2, 0)) return 0;
  luaL_Buffer text;
  size_t size = 0, length = kf_box_read(box, NULL, 0, &version);
  char *room = NULL;
  while (length > size) {  // it may have grown meanwhile
    size = length;
    room = luaL_buffinitsize(L, &text, size);
    length = kf_box_read(box, room, size, &version);
  }
  if (room) luaL_pushresultsize(&text, length);
  else lua_pushliteral(L, "");
  lua_pushinteger(L, (lua_Integer)version);
  return 2;
}

// workers.leaving() -> whether the service was told to end
static int l_leaving(lua_State *L) {
  check_own(L);
  lua_pushboolean(L, kf_shared()->leaving);
  return 1;
}

// workers.version(box) -> the version of what was published last, 0 when nothing was
static int l_version(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)atomic_load(&check_box(L, 1)->version));
  return 1;
}

// workers.touch(): the cache is up to date
static int l_touch(lua_State *L) {
  check_own(L);
  kf_shared()->cache_time = nanoseconds();
  return 0;
}

// workers.age() -> seconds since the cache was up to date; nil when it never was
static int l_age(lua_State *L) {
  check_own(L);
  uint64_t then = kf_shared()->cache_time, time = nanoseconds();
  if (!then) return 0;
  lua_pushnumber(L, time > then ? (double)(time - then) / 1e9 : 0);
  return 1;
}

// workers.list() -> list of {slot, pid, role, generation, ready, draining, busy}
static int l_list(lua_State *L) {
  check_own(L);
  lua_Integer count = 0;
  lua_newtable(L);
  for (int i = 0; i < KF_SLOTS; i++) {
    const struct kf_slot *slot = &kf_shared()->slots[i];
    if (!slot->pid) continue;
    lua_createtable(L, 0, 7);
    lua_pushinteger(L, i + 1);
    lua_setfield(L, -2, "slot");
    lua_pushinteger(L, slot->pid);
    lua_setfield(L, -2, "pid");
    push_role(L, slot->role);
    lua_setfield(L, -2, "role");
    lua_pushinteger(L, slot->generation);
    lua_setfield(L, -2, "generation");
    lua_pushboolean(L, slot->ready);
    lua_setfield(L, -2, "ready");
    lua_pushboolean(L, slot->drain);
    lua_setfield(L, -2, "draining");
    lua_pushboolean(L, slot->busy_until != 0);
    lua_setfield(L, -2, "busy");
    lua_rawseti(L, -2, ++count);
  }
  return 1;
}

// workers.ended() -> list of {slot, pid}: workers that have ended, whose report was not taken yet
static int l_ended(lua_State *L) {
  check_own(L);
  lua_Integer count = 0;
  lua_newtable(L);
  for (int i = 0; i < KF_SLOTS; i++) {
    pid_t pid = kf_shared()->slots[i].ended;
    if (!pid) continue;
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, i + 1);
    lua_setfield(L, -2, "slot");
    lua_pushinteger(L, pid);
    lua_setfield(L, -2, "pid");
    lua_rawseti(L, -2, ++count);
  }
  return 1;
}

// workers.taken(slot): the report of the worker that has ended there was taken
static int l_taken(lua_State *L) {
  check_own(L);
  lua_Integer number = luaL_checkinteger(L, 1);
  luaL_argcheck(L, number >= 1 && number <= KF_SLOTS, 1, "number of a slot expected");
  kf_shared()->slots[number - 1].ended = 0;
  return 0;
}

// --- beginning ----------------------------------------------------------------------------------

// The words of this process, with ours after the first.
static char **new_words(lua_State *L, const char *specification) {
  char *const *own = kf_program_words();
  size_t count = 0, all = 0;
  while (own[all]) all++;
  char **words = lua_newuserdatauv(L, (all + 3) * sizeof *words, 0);
  for (size_t i = 0; i < all; i++) {
    words[count++] = own[i];
    if (i > 0) continue;
    words[count++] = (char *)"--supervise";
    words[count++] = (char *)(size_t)specification;
  }
  words[count] = NULL;
  return words;
}

// workers.supervise{address, port, operations_port, workers, leave}: this process becomes the supervisor
// of processes with the same words; never returns
static int l_supervise(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (kf_own_slot()) return luaL_error(L, "this process has a supervisor");
  lua_getfield(L, 1, "address");
  lua_getfield(L, 1, "port");
  lua_getfield(L, 1, "operations_port");
  lua_getfield(L, 1, "workers");
  lua_getfield(L, 1, "leave");
  const char *specification =
      lua_pushfstring(L, "%s %d %d %d %f", luaL_checkstring(L, 2), (int)luaL_checkinteger(L, 3),
                      (int)luaL_checkinteger(L, 4), (int)luaL_checkinteger(L, 5), luaL_optnumber(L, 6, 0));
  char **words = new_words(L, specification);
  const char *program = kf_program_path();
  if (!program) return luaL_error(L, "cannot find this program's own path");
  execv(program, words);
  return kf_fail_errno(L, errno, "start", program);
}

// workers.lock{files, memory}: from now on this process opens no file and makes no connection,
// starts nothing, and uses no more descriptors and memory than that
static int l_lock(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "files");
  lua_getfield(L, 1, "memory");
  const char *problem = kf_lock_down((size_t)luaL_optinteger(L, 2, 4096),
                                     (size_t)luaL_optinteger(L, 3, 1 << 30));
  if (problem) return kf_fail(L, "Unsupported", "this process cannot be locked: %s", problem);
  return 0;
}

static const luaL_Reg functions[] = {
    {"role", l_role},       {"ready", l_ready},         {"draining", l_draining},
    {"begin", l_begin},     {"done", l_done},           {"listener", l_listener},
    {"publish", l_publish}, {"read", l_read},           {"list", l_list},
    {"lock", l_lock},       {"supervise", l_supervise}, {"port", l_port},
    {"reload", l_reload},   {"version", l_version},     {"touch", l_touch},
    {"age", l_age},         {"leaving", l_leaving},     {"ended", l_ended},
    {"taken", l_taken},     {"claim", l_claim},         {NULL, NULL}};

int luaopen_kf_workers(lua_State *L);
int luaopen_kf_workers(lua_State *L) {
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
