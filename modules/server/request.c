// From a whole request to its task: the table that the handler gets.
#include "server.h"

#include <arpa/inet.h>
#include <lauxlib.h>
#include <sys/socket.h>
#include <sys/un.h>

struct exchange *kf_check_exchange(lua_State *L, int index) {
  return luaL_checkudata(L, index, KF_TYPE_EXCHANGE);
}

static void set_slice(lua_State *L, const char *field, struct kf_slice slice) {
  lua_pushlstring(L, slice.text, slice.length);
  lua_setfield(L, -2, field);
}

// --- the other side -----------------------------------------------------------------------------

// [table] adds who connected over a unix socket.
static void add_process(lua_State *L, int fd) {
  struct ucred process;
  socklen_t length = sizeof process;
  lua_pushliteral(L, "unix");
  lua_setfield(L, -2, "address");
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &process, &length) != 0) return;
  lua_pushinteger(L, process.pid);
  lua_setfield(L, -2, "pid");
  lua_pushinteger(L, process.uid);
  lua_setfield(L, -2, "uid");
}

static void add_address(lua_State *L, int fd) {
  union {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    struct sockaddr_un local;
  } name = {0};
  socklen_t length = sizeof name;
  char text[INET6_ADDRSTRLEN] = "";
  if (getpeername(fd, &name.any, &length) != 0) return;
  if (name.any.sa_family == AF_UNIX) {
    add_process(L, fd);
    return;
  }
  bool six = name.any.sa_family == AF_INET6;
  inet_ntop(name.any.sa_family, six ? (void *)&name.six.sin6_addr : (void *)&name.four.sin_addr, text,
            sizeof text);
  lua_pushstring(L, text);
  lua_setfield(L, -2, "address");
  lua_pushinteger(L, ntohs(six ? name.six.sin6_port : name.four.sin_port));
  lua_setfield(L, -2, "port");
}

// [-0, +1, m] pushes the table of the other side, made once for a connection.
static void push_peer(lua_State *L, struct connection *connection) {
  if (connection->peer != LUA_NOREF) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, connection->peer);
    return;
  }
  lua_createtable(L, 0, 4);
  add_address(L, connection->fd);
  kf_tls_add_peer(L, connection->ssl);
  lua_pushvalue(L, -1);
  connection->peer = luaL_ref(L, LUA_REGISTRYINDEX);
}

// --- the request --------------------------------------------------------------------------------

// [-0, +1, m] pushes name -> value; values of a name that comes again are joined by ", ".
static void push_headers(lua_State *L, const struct kf_head *head) {
  lua_createtable(L, 0, (int)head->count);
  for (size_t i = 0; i < head->count; i++) {
    struct kf_slice name = head->headers[i].name, value = head->headers[i].value;
    lua_pushlstring(L, name.text, name.length);
    if (head->headers[i].again) {
      lua_pushvalue(L, -1);
      lua_rawget(L, -3);
      lua_pushliteral(L, ", ");
      lua_pushlstring(L, value.text, value.length);
      lua_concat(L, 3);
    } else {
      lua_pushlstring(L, value.text, value.length);
    }
    lua_rawset(L, -3);
  }
}

// [-0, +1, m] pushes the request of a connection whose head was just parsed.
static void push_request(lua_State *L, struct connection *connection, int exchange) {
  const struct kf_head *head = &connection->server->head;
  lua_createtable(L, 0, 7);
  set_slice(L, "method", head->method);
  set_slice(L, "path", head->path);
  if (head->query.text) set_slice(L, "query", head->query);
  set_slice(L, "body", (struct kf_slice){connection->in.data + connection->head_length,
                                         connection->body_length});
  push_headers(L, head);
  lua_setfield(L, -2, "headers");
  push_peer(L, connection);
  lua_setfield(L, -2, "peer");
  lua_pushvalue(L, exchange);
  lua_setfield(L, -2, "exchange");
  luaL_setmetatable(L, "kfhost.request");
}

static struct exchange *push_exchange(lua_State *L, struct connection *connection) {
  struct exchange *exchange = lua_newuserdatauv(L, sizeof *exchange, 1);
  struct kf_slice method = connection->server->head.method;
  *exchange = (struct exchange){.connection = connection};
  exchange->head_only = method.length == 4 && *method.text == 'H';
  luaL_setmetatable(L, KF_TYPE_EXCHANGE);
  return exchange;
}

// [server connection] spawns the task of a request; runs protected.
static int spawn(lua_State *L) {
  struct connection *connection = lua_touserdata(L, 2);
  struct exchange *exchange = push_exchange(L, connection);  // server connection exchange
  lua_pushcfunction(L, kf_response_serve);
  lua_pushvalue(L, 3);
  lua_getiuservalue(L, 1, KF_SERVER_HANDLER);
  lua_getiuservalue(L, 1, KF_SERVER_ON_ERROR);
  push_request(L, connection, 3);
  struct kf_task *task = kf_task_spawn(L, 4);  // server connection exchange task
  lua_setiuservalue(L, 3, 1);
  exchange->task = task;
  connection->exchange = exchange;
  connection->server->handling++;
  return 0;
}

bool kf_request_start(struct connection *connection) {
  lua_State *L = connection->server->L;
  lua_pushcfunction(L, spawn);
  lua_rawgetp(L, LUA_REGISTRYINDEX, connection->server);
  lua_pushlightuserdata(L, connection);
  bool fine = lua_pcall(L, 2, 0, 0) == LUA_OK;
  lua_settop(L, 0);
  return fine;
}
