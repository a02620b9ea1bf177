// require "server": listens, and hands each request to a task of its own.
#include "server.h"

#include "error.h"
#include "supervise.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024, ACCEPTED_AT_ONCE = 64 };
#define FULL_SECONDS 0.05   // out of descriptors, or as many connections as allowed
#define TURN_SECONDS 0.005

static struct server *check(lua_State *L) {
  return luaL_checkudata(L, 1, KF_TYPE_SERVER);
}

// --- accepting ----------------------------------------------------------------------------------

static void on_pause_over(struct kf_timer *timer) {
  struct server *server = (struct server *)(void *)((char *)timer - offsetof(struct server, pause));
  if (server->fd >= 0) kf_watch_start(server->loop, &server->accepting, server->fd, KF_READ);
}

// Asks again in a moment.
static void pause_accepting(struct server *server, double seconds) {
  kf_watch_stop(server->loop, &server->accepting);
  kf_timer_start(server->loop, &server->pause, kf_loop_now(server->loop) + seconds);
}

// Of several processes at one socket, that with the fewest connections is to take the next; the
// others let it go first, once.
static bool lets_others_first(struct server *server) {
  bool lets = server->shared && !server->waited && kf_others_have_room();
  server->waited = lets;
  if (lets) pause_accepting(server, TURN_SECONDS);
  return lets;
}

// Makes room for a connection: of those that have no request, the oldest goes. False when all have one.
static bool end_an_idle_one(struct server *server) {
  struct connection *oldest = NULL;
  for (struct connection *at = server->connections; at; at = at->next)
    if (at->phase == READ_HEAD && !at->started) oldest = at;
  if (oldest) kf_connection_close(oldest, false);
  return oldest != NULL;
}

static void on_accept(struct kf_watch *watch, int events) {
  (void)events;
  struct server *server =
      (struct server *)(void *)((char *)watch - offsetof(struct server, accepting));
  for (int i = 0; i < (server->shared ? 1 : ACCEPTED_AT_ONCE); i++) {
    if (server->count >= server->most_connections && !end_an_idle_one(server)) {
      pause_accepting(server, FULL_SECONDS);
      return;
    }
    if (lets_others_first(server)) return;
    int fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      kf_connection_open(server, fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      pause_accepting(server, FULL_SECONDS);
      return;
    } else if (errno != ECONNABORTED && errno != EINTR) {
      return;
    }
  }
}

static void stop_listening(struct server *server) {
  kf_watch_stop(server->loop, &server->accepting);
  kf_timer_stop(server->loop, &server->pause);
  if (server->fd >= 0) close(server->fd);
  server->fd = -1;
  if (server->path) unlink(server->path);
  free(server->path);
  server->path = NULL;
  if (server->count == 0) kf_gate_open(&server->empty);
}

static void release(struct server *server) {
  kf_hold_stop(server->loop, &server->hold);
  lua_pushnil(server->L);
  lua_rawsetp(server->L, LUA_REGISTRYINDEX, server);
}

static void close_all(struct server *server) {
  stop_listening(server);
  while (server->connections) kf_connection_close(server->connections, false);
  if (server->tls) SSL_CTX_free(server->tls);
  server->tls = NULL;
}

// --- listening ----------------------------------------------------------------------------------

static int fail_to_listen(lua_State *L, int fd, const char *where) {
  int number = errno;
  if (fd >= 0) close(fd);
  return kf_fail_errno(L, number, "listen on", where);
}

static int listen_unix(lua_State *L, struct server *server, const char *path) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof name.sun_path) {
    errno = ENAMETOOLONG;
    return fail_to_listen(L, -1, path);
  }
  memcpy(name.sun_path, path, strlen(path));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  mode_t mask = umask(0177);  // for this user only
  int result = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&name, sizeof name);
  umask(mask);
  if (result != 0 || listen(fd, BACKLOG) != 0) return fail_to_listen(L, fd, path);
  server->path = strdup(path);
  return fd;
}

static int listen_tcp(lua_State *L, const char *address, int port, bool shared) {
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
  struct addrinfo *found = NULL;
  char service[16];
  snprintf(service, sizeof service, "%d", port);
  int problem = getaddrinfo(address, service, &hints, &found);
  if (problem) return luaL_error(L, "address '%s': %s", address, gai_strerror(problem));
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int one = 1;
  if (fd >= 0) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (shared) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  // connections inherit it
  }
  bool fine = fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0;
  int number = errno;
  freeaddrinfo(found);
  if (fine) return fd;
  errno = number;
  return fail_to_listen(L, fd, lua_pushfstring(L, "%s:%d", address, port));
}

static int port_of(int fd) {
  union {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
  } name = {0};
  socklen_t length = sizeof name;
  if (getsockname(fd, &name.any, &length) != 0) return 0;
  if (name.any.sa_family == AF_INET) return ntohs(name.four.sin_port);
  return name.any.sa_family == AF_INET6 ? ntohs(name.six.sin6_port) : 0;
}

// --- options ------------------------------------------------------------------------------------

static lua_Integer integer_field(lua_State *L, const char *field, lua_Integer otherwise,
                                 lua_Integer least, lua_Integer most) {
  lua_Integer value = otherwise;
  if (lua_getfield(L, 1, field) != LUA_TNIL) {
    if (!lua_isinteger(L, -1)) luaL_error(L, "%s: integer expected", field);
    value = lua_tointeger(L, -1);
    if (value < least || value > most) luaL_error(L, "%s: %I is out of range", field, value);
  }
  lua_pop(L, 1);
  return value;
}

static double seconds_field(lua_State *L, const char *field, double otherwise) {
  double seconds = otherwise;
  if (lua_getfield(L, 1, field) != LUA_TNIL) seconds = kf_check_seconds(L, lua_gettop(L));
  lua_pop(L, 1);
  return seconds;
}

// [-0, +1, v] a text of the options table, or NULL.
static const char *text_field(lua_State *L, const char *field) {
  if (lua_getfield(L, 1, field) == LUA_TNIL) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "%s: text expected", field);
  return lua_tostring(L, -1);
}

static void read_limits(lua_State *L, struct server *server) {
  server->max_body = (size_t)integer_field(L, "max_body", 3 << 20, 0, 1 << 30);
  server->max_header = (size_t)integer_field(L, "max_header", 64 << 10, 256, 1 << 20);
  server->most_connections = (size_t)integer_field(L, "max_connections", 10000, 1, 1 << 20);
  server->most_requests = (size_t)integer_field(L, "max_requests", 10000, 1, 1 << 20);
  server->idle_timeout = seconds_field(L, "idle_timeout", 90);
  server->request_timeout = seconds_field(L, "request_timeout", 30);
}

static SSL_CTX *read_tls(lua_State *L) {
  const char *certificate = text_field(L, "certificate");
  const char *key = text_field(L, "key");
  const char *client_ca = text_field(L, "client_ca");
  if (!certificate && !key && !client_ca) return NULL;
  if (!certificate || !key) luaL_error(L, "certificate and key belong together");
  lua_getfield(L, 1, "client_required");
  return kf_tls_context(L, certificate, key, client_ca, lua_toboolean(L, -1));
}

static int open_socket(lua_State *L, struct server *server) {
  const char *path = text_field(L, "path");
  if (path) return listen_unix(L, server, path);
  int fd = (int)integer_field(L, "fd", -1, 0, INT32_MAX);
  if (fd >= 0) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    server->shared = true;
    return fd;
  }
  const char *address = text_field(L, "address");
  lua_getfield(L, 1, "shared");
  bool shared = lua_toboolean(L, -1);
  return listen_tcp(L, address ? address : "127.0.0.1", (int)integer_field(L, "port", 0, 0, 65535),
                    shared);
}

// [-0, +1, m] pushes a server that does not listen yet.
static struct server *new_server(lua_State *L) {
  struct server *server = lua_newuserdatauv(L, sizeof *server, KF_SERVER_VALUES);
  *server = (struct server){.host = kf_host(L), .loop = kf_host(L)->loop, .fd = -1};
  server->accepting.ready = on_accept;
  server->pause.fire = on_pause_over;
  luaL_setmetatable(L, KF_TYPE_SERVER);
  server->L = lua_newthread(L);
  lua_setiuservalue(L, -2, KF_SERVER_THREAD);
  return server;
}

// server.listen{address, port, path, fd, certificate, key, client_ca, handler, …} -> server
static int l_listen(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  struct server *server = new_server(L);  // options server
  if (lua_getfield(L, 1, "handler") != LUA_TFUNCTION) luaL_error(L, "handler: function expected");
  lua_setiuservalue(L, 2, KF_SERVER_HANDLER);
  lua_getfield(L, 1, "on_error");
  lua_setiuservalue(L, 2, KF_SERVER_ON_ERROR);
  read_limits(L, server);
  lua_getfield(L, 1, "raw");
  server->raw = lua_toboolean(L, -1);
  lua_pop(L, 1);
  server->tls = read_tls(L);
  server->fd = open_socket(L, server);
  server->port = port_of(server->fd);
  lua_pushvalue(L, 2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, server);
  if (!kf_watch_start(server->loop, &server->accepting, server->fd, KF_READ)) {
    close_all(server);
    release(server);
    return kf_fail(L, "EMFILE", "cannot watch the listening socket");
  }
  kf_hold_start(server->loop, &server->hold);
  lua_settop(L, 2);
  return 1;
}

// --- methods ------------------------------------------------------------------------------------

// s:set_certificate(certificate, key): for connections that come from now on
static int l_set_certificate(lua_State *L) {
  struct server *server = check(L);
  const char *certificate = luaL_checkstring(L, 2);
  const char *key = luaL_checkstring(L, 3);
  const char *client_ca = luaL_optstring(L, 4, NULL);
  if (!server->tls) return luaL_error(L, "the server is closed, or was opened without a certificate");
  int mode = SSL_CTX_get_verify_mode(server->tls);
  SSL_CTX *context =
      kf_tls_context(L, certificate, key, client_ca, mode & SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
  if (!client_ca && (mode & SSL_VERIFY_PEER)) {  // who is trusted stays the same
    SSL_CTX_set1_cert_store(context, SSL_CTX_get_cert_store(server->tls));
    SSL_CTX_set_verify(context, mode, NULL);
  }
  SSL_CTX_free(server->tls);
  server->tls = context;
  return 0;
}

static int drained(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct server *server = check(L);
  bool in_time = status != LUA_YIELD || kf_gate_waited(L);
  close_all(server);
  release(server);
  lua_pushboolean(L, in_time);
  return 1;
}

// s:drain(grace) -> whether all requests were answered: no new connections, idle ones end, the
// others end with their answer, or when the grace is over
static int l_drain(lua_State *L) {
  struct server *server = check(L);
  double deadline = kf_deadline(L, 2);
  lua_settop(L, 1);
  server->draining = true;
  stop_listening(server);
  for (struct connection *at = server->connections; at; at = at->next) kf_connection_drain(at);
  if (server->count == 0) return drained(L, LUA_OK, 0);
  return kf_gate_wait(L, &server->empty, deadline, 0, drained);
}

static int over(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  lua_pushboolean(L, kf_gate_waited(L));
  return 1;
}

// s:wait(timeout) -> whether the server has ended
static int l_wait(lua_State *L) {
  struct server *server = check(L);
  double deadline = kf_deadline(L, 2);
  lua_settop(L, 1);
  return kf_gate_wait(L, &server->empty, deadline, 0, over);
}

// s:close(): ends everything at once; also the end of a <close> variable, and of the state
static int l_close(lua_State *L) {
  struct server *server = check(L);
  if (server->L) {
    close_all(server);
    release(server);
  }
  return 0;
}

// s:connections() -> how many are open
static int l_connections(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check(L)->count);
  return 1;
}

// s:waiting() -> how many requests have come whole and are not answered yet
static int l_waiting(lua_State *L) {
  lua_Integer count = 0;
  for (struct connection *at = check(L)->connections; at; at = at->next)
    count += at->exchange && at->exchange->answer == ANSWER_NONE;
  lua_pushinteger(L, count);
  return 1;
}

// s:refused() -> counts by status, of what was refused without a handler; how many handshakes
// failed; why the last one did, or nil
static int l_refused(lua_State *L) {
  const struct refusals *refusals = &check(L)->refusals;
  lua_Integer handshakes = 0;
  lua_newtable(L);
  for (size_t i = 0; i < refusals->kinds; i++) {
    lua_Integer count = (lua_Integer)refusals->count[i];
    if (refusals->status[i] == 0) {
      handshakes = count;
    } else {
      lua_pushinteger(L, count);
      lua_rawseti(L, -2, refusals->status[i]);
    }
  }
  lua_pushinteger(L, handshakes);
  lua_pushstring(L, refusals->handshake);
  return 3;
}

static int l_index(lua_State *L) {
  struct server *server = check(L);
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "port") == 0) {
    lua_pushinteger(L, server->port);
    return 1;
  }
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  return 1;
}

// A request's task ended, whatever way: what was not answered is cut.
static int l_exchange_close(lua_State *L) {
  struct exchange *exchange = kf_check_exchange(L, 1);
  exchange->task = NULL;
  if (exchange->connection) kf_connection_close(exchange->connection, true);
  return 0;
}

static const luaL_Reg server_methods[] = {
    {"set_certificate", l_set_certificate}, {"drain", l_drain}, {"wait", l_wait},
    {"close", l_close}, {"connections", l_connections}, {"waiting", l_waiting},
    {"refused", l_refused}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"listen", l_listen}, {NULL, NULL}};

static void set_methods(lua_State *L, const char *type, lua_CFunction close) {
  // methods
  luaL_newmetatable(L, type);
  lua_insert(L, -2);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
}

int luaopen_kf_server(lua_State *L);
int luaopen_kf_server(lua_State *L) {
  luaL_newlib(L, server_methods);
  lua_pushcclosure(L, l_index, 1);
  set_methods(L, KF_TYPE_SERVER, l_close);
  lua_newtable(L);
  luaL_setfuncs(L, kf_exchange_methods, 0);
  set_methods(L, KF_TYPE_EXCHANGE, l_exchange_close);
  luaL_newmetatable(L, "kfhost.request");
  lua_newtable(L);
  lua_pushcfunction(L, kf_exchange_upgrade);
  lua_setfield(L, -2, "upgrade");
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
