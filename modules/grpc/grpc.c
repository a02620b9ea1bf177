// require "grpc.core": what scripts/lib/grpc.lua is built from: an HTTP/2 server whose answers have
// trailers. (The client's side is libcurl's, by `require "http"`.)
#include "error.h"
#include "h2.h"
#include "state.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TYPE_SERVER "kfhost.grpc.server"
#define TYPE_CALL "kfhost.grpc.call"

// User values of a server: the handler, the thread for protected calls.
enum { HANDLER = 1, THREAD, SERVER_VALUES = 2 };

static struct h2_server *check(lua_State *L) {
  return luaL_checkudata(L, 1, TYPE_SERVER);
}

// --- requests -----------------------------------------------------------------------------------

// [-0, +1, m] pushes {path, method, headers, body, too_large}; names with a colon are no headers.
static void push_request(lua_State *L, const struct h2_stream *stream) {
  const struct kf_buffer *headers = &stream->headers;
  lua_createtable(L, 0, 4);
  lua_newtable(L);
  for (size_t at = 0; at < headers->length;) {
    const char *name = headers->data + at, *value = name + strlen(name) + 1;
    at = (size_t)(value - headers->data) + strlen(value) + 1;
    bool pseudo = *name == ':';
    if (pseudo && strcmp(name, ":path") != 0 && strcmp(name, ":method") != 0) continue;
    lua_pushstring(L, value);
    lua_setfield(L, pseudo ? -3 : -2, pseudo ? name + 1 : name);
  }
  lua_setfield(L, -2, "headers");
  lua_pushlstring(L, stream->body.data ? stream->body.data : "", stream->body.length);
  lua_setfield(L, -2, "body");
  lua_pushboolean(L, stream->too_large);
  lua_setfield(L, -2, "too_large");
}

// --- answers ------------------------------------------------------------------------------------

static void add_pair(struct kf_buffer *pairs, const char *name, const char *value) {
  kf_buffer_add(pairs, name, strlen(name) + 1);
  kf_buffer_add(pairs, value, strlen(value) + 1);
}

// [-0, +0, v] adds the pairs of a field of the answer at 2; names must be lower-case.
static void add_pairs(lua_State *L, const char *field, struct kf_buffer *pairs) {
  if (lua_getfield(L, 2, field) == LUA_TTABLE) {
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {  // table name value
      if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1))
        luaL_error(L, "%s: {name = text} expected", field);
      add_pair(pairs, lua_tostring(L, -2), lua_tostring(L, -1));
    }
  }
  lua_pop(L, 1);
}

// A buffer that no error can lose.
static int l_buffer_gc(lua_State *L) {
  kf_buffer_free(lua_touserdata(L, 1));
  return 0;
}

static struct kf_buffer *push_buffer(lua_State *L) {
  struct kf_buffer *buffer = lua_newuserdatauv(L, sizeof *buffer, 0);
  *buffer = (struct kf_buffer){0};
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_buffer_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  return buffer;
}

// [call answer] sends {status, headers, body, trailers}, or {refuse = "stream" | "connection"}.
static int answer(lua_State *L) {
  struct h2_call *call = lua_touserdata(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_getfield(L, 2, "refuse");
  const char *refuse = luaL_optstring(L, -1, NULL);
  call->task = NULL;  // it ends by itself now; the stream may close within the next call
  if (refuse) {
    kf_h2_refuse(call->stream, strcmp(refuse, "connection") == 0);
    return 0;
  }
  char status[24];
  size_t length;
  lua_getfield(L, 2, "status");
  snprintf(status, sizeof status, "%d", (int)luaL_optinteger(L, -1, 200));
  lua_getfield(L, 2, "body");
  const char *body = luaL_optlstring(L, -1, "", &length);
  struct kf_buffer *headers = push_buffer(L);
  add_pair(headers, ":status", status);
  add_pairs(L, "headers", headers);
  add_pairs(L, "trailers", &call->stream->trailers);
  kf_buffer_add(&call->stream->answer, body, length);
  kf_h2_answer(call->stream, headers);
  return 0;
}

// --- the task of a request ----------------------------------------------------------------------

static bool was_cancelled(lua_State *L) {
  if (!lua_istable(L, -1)) return false;
  lua_getfield(L, -1, "code");
  bool was = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "Cancelled") == 0;
  lua_pop(L, 1);
  return was;
}

// [call handler request result | error]
static int handled(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct h2_call *call = luaL_checkudata(L, 1, TYPE_CALL);
  if (!call->stream) return 0;
  bool fine = status == LUA_OK || status == LUA_YIELD;
  if (fine) {
    lua_pushcfunction(L, answer);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 4);
    fine = lua_pcall(L, 2, 0, 0) == LUA_OK;
  }
  if (fine || was_cancelled(L)) return 0;
  kf_error_text(L);
  fprintf(stderr, "kfhost: grpc: %s\n", lua_tostring(L, -1));
  if (call->stream) kf_h2_refuse(call->stream, false);
  return 0;
}

static int serve(lua_State *L) {
  lua_toclose(L, 1);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  return handled(L, lua_pcallk(L, 1, 1, 0, 0, handled), 0);
}

// The task has ended; its stream may still be sending.
static int l_call_close(lua_State *L) {
  struct h2_call *call = luaL_checkudata(L, 1, TYPE_CALL);
  struct h2_stream *stream = call->stream;
  call->task = NULL;
  call->stream = NULL;
  if (!stream) return 0;
  stream->call = NULL;
  if (!stream->answered) kf_h2_refuse(stream, false);
  return 0;
}

// [server stream] spawns the task of a request; runs protected.
static int spawn(lua_State *L) {
  struct h2_stream *stream = lua_touserdata(L, 2);
  struct h2_call *call = lua_newuserdatauv(L, sizeof *call, 1);
  *call = (struct h2_call){.stream = stream};
  luaL_setmetatable(L, TYPE_CALL);
  lua_pushcfunction(L, serve);
  lua_pushvalue(L, 3);
  lua_getiuservalue(L, 1, HANDLER);
  push_request(L, stream);
  struct kf_task *task = kf_task_spawn(L, 3);  // server stream call task
  lua_setiuservalue(L, 3, 1);
  call->task = task;
  stream->call = call;
  return 0;
}

static bool start(struct h2_stream *stream) {
  struct h2_server *server = stream->server;
  lua_State *L = server->L;
  lua_pushcfunction(L, spawn);
  lua_rawgetp(L, LUA_REGISTRYINDEX, server);
  lua_pushlightuserdata(L, stream);
  bool fine = lua_pcall(L, 2, 0, 0) == LUA_OK;
  lua_settop(L, 0);
  return fine;
}

// --- the server ---------------------------------------------------------------------------------

static void on_accept(struct kf_watch *watch, int events) {
  (void)events;
  struct h2_server *server =
      (struct h2_server *)(void *)((char *)watch - offsetof(struct h2_server, accepting));
  int fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) kf_h2_open(server, fd);
}

static int fail_to_listen(lua_State *L, int fd, const char *where) {
  int number = errno;
  if (fd >= 0) close(fd);
  return kf_fail_errno(L, number, "listen on", where);
}

static int listen_unix(lua_State *L, struct h2_server *server, const char *path) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  luaL_argcheck(L, strlen(path) < sizeof name.sun_path, 1, "path: too long for a socket");
  memcpy(name.sun_path, path, strlen(path));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  mode_t mask = umask(0177);  // for this user only
  int result = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&name, sizeof name);
  umask(mask);
  if (result != 0 || listen(fd, 128) != 0) return fail_to_listen(L, fd, path);
  server->path = strdup(path);
  return fd;
}

static int listen_tcp(lua_State *L, struct h2_server *server, const char *address, int port) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  socklen_t length = sizeof name;
  int one = 1;
  if (inet_pton(AF_INET, address, &name.sin_addr) != 1) luaL_error(L, "address '%s': not one", address);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) != 0 || listen(fd, 128) != 0 ||
      getsockname(fd, (struct sockaddr *)&name, &length) != 0)
    return fail_to_listen(L, fd, address);
  server->port = ntohs(name.sin_port);
  return fd;
}

static struct h2_server *new_server(lua_State *L) {
  struct h2_server *server = lua_newuserdatauv(L, sizeof *server, SERVER_VALUES);
  *server = (struct h2_server){.loop = kf_host(L)->loop, .start = start, .fd = -1};
  server->accepting.ready = on_accept;
  luaL_setmetatable(L, TYPE_SERVER);
  server->L = lua_newthread(L);
  lua_setiuservalue(L, -2, THREAD);
  return server;
}

// s:close(): ends everything at once
static int l_close(lua_State *L) {
  struct h2_server *server = check(L);
  kf_watch_stop(server->loop, &server->accepting);
  if (server->fd >= 0) close(server->fd);
  server->fd = -1;
  if (server->path) unlink(server->path);
  free(server->path);
  server->path = NULL;
  kf_h2_close_all(server);
  if (server->tls) SSL_CTX_free(server->tls);
  server->tls = NULL;
  kf_hold_stop(server->loop, &server->hold);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, server);
  return 0;
}

// core.listen{address, port, path, handler, max_body} -> server
static int l_listen(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  struct h2_server *server = new_server(L);  // options server
  if (lua_getfield(L, 1, "handler") != LUA_TFUNCTION) luaL_error(L, "handler: function expected");
  lua_setiuservalue(L, 2, HANDLER);
  lua_getfield(L, 1, "max_body");
  server->max_body = (size_t)luaL_optinteger(L, -1, 4 << 20);
  lua_getfield(L, 1, "certificate");
  lua_getfield(L, 1, "key");
  if (!lua_isnil(L, -2))
    server->tls = kf_h2_context(L, luaL_checkstring(L, -2), luaL_checkstring(L, -1));
  lua_settop(L, 3);
  lua_getfield(L, 1, "address");
  lua_getfield(L, 1, "port");
  lua_getfield(L, 1, "path");  // options server max address port path
  const char *path = luaL_optstring(L, -1, NULL);
  server->fd = path ? listen_unix(L, server, path)
                    : listen_tcp(L, server, luaL_optstring(L, 4, "127.0.0.1"),
                                 (int)luaL_optinteger(L, 5, 0));
  lua_pushvalue(L, 2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, server);
  kf_watch_start(server->loop, &server->accepting, server->fd, KF_READ);
  kf_hold_start(server->loop, &server->hold);
  lua_settop(L, 2);
  return 1;
}

// s:connections() -> how many are open
static int l_connections(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)kf_h2_count(check(L)));
  return 1;
}

static int l_index(lua_State *L) {
  struct h2_server *server = check(L);
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "port") == 0) {
    lua_pushinteger(L, server->port);
    return 1;
  }
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  return 1;
}

static const luaL_Reg methods[] = {{"close", l_close}, {"connections", l_connections}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"listen", l_listen}, {NULL, NULL}};

int luaopen_kf_grpc(lua_State *L);
int luaopen_kf_grpc(lua_State *L) {
  luaL_newmetatable(L, TYPE_SERVER);
  luaL_newlib(L, methods);
  lua_pushcclosure(L, l_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, l_close);
  lua_setfield(L, -2, "__close");
  luaL_newmetatable(L, TYPE_CALL);
  lua_pushcfunction(L, l_call_close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, l_call_close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 2);
  luaL_newlib(L, functions);
  return 1;
}
