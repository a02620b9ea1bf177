// require "net": stream sockets on the loop, and sockets handed from one process to another.
// Not for HTTP (http, server).
#include "error.h"
#include "state.h"
#include "task.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <linux/netfilter_ipv4.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TYPE_SOCKET "kfhost.socket"
enum { READ_SIZE = 65536, TEXT_SIZE = 256 };

struct socket {
  struct kf_loop *loop;
  int fd;  // -1 when closed
  bool terminal;  // the near end of a pseudo terminal
  struct kf_watch readable, writable;  // each from when somebody waits until it is
  struct kf_gate input, output;
};

union name {
  struct sockaddr any;
  struct sockaddr_in in;
  struct sockaddr_un un;
};

static struct socket *check(lua_State *L) {
  return luaL_checkudata(L, 1, TYPE_SOCKET);
}

// --- waiting ------------------------------------------------------------------------------------

// Whoever waits looks again; who comes later waits for the next time.
static void wake(struct socket *socket, struct kf_watch *watch, struct kf_gate *gate) {
  kf_watch_stop(socket->loop, watch);
  kf_gate_open(gate);
  gate->open = false;
}

static void on_readable(struct kf_watch *watch, int events) {
  (void)events;
  struct socket *socket =
      (struct socket *)(void *)((char *)watch - offsetof(struct socket, readable));
  wake(socket, watch, &socket->input);
}

static void on_writable(struct kf_watch *watch, int events) {
  (void)events;
  struct socket *socket =
      (struct socket *)(void *)((char *)watch - offsetof(struct socket, writable));
  wake(socket, watch, &socket->output);
}

static void input_cancelled(struct kf_gate *gate) {
  struct socket *socket = (struct socket *)(void *)((char *)gate - offsetof(struct socket, input));
  if (!gate->joiners) kf_watch_stop(socket->loop, &socket->readable);
}

static void output_cancelled(struct kf_gate *gate) {
  struct socket *socket = (struct socket *)(void *)((char *)gate - offsetof(struct socket, output));
  if (!gate->joiners) kf_watch_stop(socket->loop, &socket->writable);
}

static void await(struct socket *socket, int events) {
  struct kf_watch *watch = events == KF_READ ? &socket->readable : &socket->writable;
  if (socket->fd >= 0 && !watch->event) kf_watch_start(socket->loop, watch, socket->fd, events);
}

// [-0, +0, v] the first act after a wait for input.
static void waited_input(lua_State *L, struct socket *socket) {
  if (kf_gate_waited(L)) return;
  if (!socket->input.joiners) kf_watch_stop(socket->loop, &socket->readable);
  kf_fail(L, "Timeout", "nothing came in time");
}

static bool must_wait(int number) {
  return number == EAGAIN || number == EWOULDBLOCK || number == EINTR;
}

// The bytes of a terminal are those of a file; when nobody has it open any more, it says EIO.
static ssize_t take(const struct socket *socket, char *bytes, size_t size) {
  if (socket->fd < 0) return 0;
  if (!socket->terminal) return recv(socket->fd, bytes, size, 0);
  ssize_t count = read(socket->fd, bytes, size);
  return count < 0 && errno == EIO ? 0 : count;
}

static ssize_t give(const struct socket *socket, const char *bytes, size_t size) {
  if (socket->terminal) return write(socket->fd, bytes, size);
  return send(socket->fd, bytes, size, MSG_NOSIGNAL);
}

// --- making and ending --------------------------------------------------------------------------

// [-0, +1, m] pushes a socket that is closed.
static struct socket *new_socket(lua_State *L) {
  struct socket *socket = lua_newuserdatauv(L, sizeof *socket, 0);
  *socket = (struct socket){.loop = kf_host(L)->loop, .fd = -1};
  socket->readable.ready = on_readable;
  socket->writable.ready = on_writable;
  socket->input.cancelled = input_cancelled;
  socket->output.cancelled = output_cancelled;
  luaL_setmetatable(L, TYPE_SOCKET);
  return socket;
}

static void end(struct socket *socket) {
  if (socket->fd < 0) return;
  wake(socket, &socket->readable, &socket->input);
  wake(socket, &socket->writable, &socket->output);
  close(socket->fd);
  socket->fd = -1;
}

// socket:close()
static int l_close(lua_State *L) {
  end(check(L));
  return 0;
}

// socket:reset(): the other side sees the connection broken
static int l_reset(lua_State *L) {
  struct socket *socket = check(L);
  struct linger at_once = {.l_onoff = 1};
  if (socket->fd >= 0) setsockopt(socket->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  end(socket);
  return 0;
}

// socket:finish(): nothing more will be written
static int l_finish(lua_State *L) {
  const struct socket *socket = check(L);
  if (socket->fd >= 0) shutdown(socket->fd, SHUT_WR);
  return 0;
}

// --- names --------------------------------------------------------------------------------------

// [-0, +0, v] reads path, or address and port, of the options at 1.
static socklen_t read_name(lua_State *L, union name *name) {
  memset(name, 0, sizeof *name);
  if (lua_getfield(L, 1, "path") != LUA_TNIL) {
    size_t length;
    const char *path = luaL_checklstring(L, -1, &length);
    luaL_argcheck(L, length < sizeof name->un.sun_path, 1, "the path is too long for a socket");
    name->un.sun_family = AF_UNIX;
    memcpy(name->un.sun_path, path, length);
    lua_pop(L, 1);
    return sizeof name->un;
  }
  lua_getfield(L, 1, "address");
  lua_getfield(L, 1, "port");
  name->in.sin_family = AF_INET;
  name->in.sin_port = htons((uint16_t)luaL_optinteger(L, -1, 0));
  const char *address = luaL_optstring(L, -2, "127.0.0.1");
  luaL_argcheck(L, inet_pton(AF_INET, address, &name->in.sin_addr) == 1, 1, "no IPv4 address");
  lua_pop(L, 2);
  return sizeof name->in;
}

static int push_name(lua_State *L, const union name *name) {
  if (name->any.sa_family != AF_INET) return 0;
  char text[INET_ADDRSTRLEN];
  lua_pushstring(L, inet_ntop(AF_INET, &name->in.sin_addr, text, sizeof text));
  lua_pushinteger(L, ntohs(name->in.sin_port));
  return 2;
}

// socket:peer() -> address, port; nothing for a unix socket
static int l_peer(lua_State *L) {
  union name name = {0};
  socklen_t length = sizeof name;
  if (getpeername(check(L)->fd, &name.any, &length) != 0) return 0;
  return push_name(L, &name);
}

// socket:here() -> address, port of this side
static int l_here(lua_State *L) {
  union name name = {0};
  socklen_t length = sizeof name;
  if (getsockname(check(L)->fd, &name.any, &length) != 0) return 0;
  return push_name(L, &name);
}

// socket:destination() -> address, port that the other side meant, before a rule sent it here
static int l_destination(lua_State *L) {
  union name name = {0};
  socklen_t length = sizeof name.in;
  if (getsockopt(check(L)->fd, SOL_IP, SO_ORIGINAL_DST, &name, &length) != 0) return l_here(L);
  return push_name(L, &name);
}

// --- listening and connecting -------------------------------------------------------------------

static void open_socket(lua_State *L, struct socket *made, int family) {
  made->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (made->fd < 0) kf_fail_errno(L, errno, "make a socket", "");
}

static void send_at_once(int fd) {
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

// [-0, +0, v] closes the socket and raises what errno says.
static int fail(lua_State *L, struct socket *socket, const char *action) {
  int number = errno;
  end(socket);
  return kf_fail_errno(L, number, action, luaL_tolstring(L, 2, NULL));
}

// [options] pushes where, as texts of errors name it
static void push_where(lua_State *L) {
  if (lua_getfield(L, 1, "path") != LUA_TNIL) return;
  lua_pop(L, 1);
  lua_getfield(L, 1, "address");
  lua_getfield(L, 1, "port");
  lua_pushfstring(L, "%s:%s", luaL_optstring(L, -2, "127.0.0.1"), luaL_optstring(L, -1, "0"));
  lua_replace(L, 2);
  lua_settop(L, 2);
}

// net.listen{path | address, port} -> socket
static int l_listen(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  union name name;
  socklen_t length = read_name(L, &name);
  push_where(L);
  struct socket *socket = new_socket(L);
  open_socket(L, socket, name.any.sa_family);
  setsockopt(socket->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  if (bind(socket->fd, &name.any, length) != 0) return fail(L, socket, "listen on");
  if (listen(socket->fd, SOMAXCONN) != 0) return fail(L, socket, "listen on");
  return 1;
}

static int accept_one(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct socket *socket = check(L);
  if (status == LUA_YIELD) waited_input(L, socket);
  if (socket->fd < 0) return 0;
  int fd = accept4(socket->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) {
    send_at_once(fd);
    new_socket(L)->fd = fd;
    return 1;
  }
  if (!must_wait(errno) && errno != ECONNABORTED) return kf_fail_errno(L, errno, "accept on", "");
  await(socket, KF_READ);
  return kf_gate_wait(L, &socket->input, lua_tonumber(L, 2), 0, accept_one);
}

// [-0, +0, v] replaces the timeout at 2 by its deadline.
static void deadline_at_2(lua_State *L) {
  double deadline = kf_deadline(L, 2);
  lua_settop(L, 1);
  lua_pushnumber(L, deadline);
}

// socket:accept(timeout) -> socket, or nothing when this one was closed
static int l_accept(lua_State *L) {
  check(L);
  deadline_at_2(L);
  return accept_one(L, LUA_OK, 0);
}

// [options where socket deadline]
static int connected(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  struct socket *socket = luaL_checkudata(L, 3, TYPE_SOCKET);
  int number = ETIMEDOUT;
  socklen_t length = sizeof number;
  if (kf_gate_waited(L) && getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &number, &length) != 0)
    number = errno;
  errno = number;
  if (number != 0) return fail(L, socket, "connect to");
  lua_settop(L, 3);
  return 1;
}

static void bind_source(lua_State *L, struct socket *socket) {
  union name name = {.in = {.sin_family = AF_INET}};
  if (lua_getfield(L, 1, "source") == LUA_TSTRING) {
    luaL_argcheck(L, inet_pton(AF_INET, lua_tostring(L, -1), &name.in.sin_addr) == 1, 1,
                  "source: no IPv4 address");
    if (bind(socket->fd, &name.any, sizeof name.in) != 0) fail(L, socket, "connect to");
  }
  lua_pop(L, 1);
}

// net.connect{path | address, port, source, timeout} -> socket
static int l_connect(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  double deadline = kf_deadline_field(L, 1, "timeout");
  union name name;
  socklen_t length = read_name(L, &name);
  push_where(L);
  struct socket *socket = new_socket(L);
  open_socket(L, socket, name.any.sa_family);
  bind_source(L, socket);
  if (name.any.sa_family == AF_INET) send_at_once(socket->fd);
  if (connect(socket->fd, &name.any, length) == 0) return 1;
  if (errno != EINPROGRESS) return fail(L, socket, "connect to");
  await(socket, KF_WRITE);
  return kf_gate_wait(L, &socket->output, deadline, 0, connected);
}

// --- bytes --------------------------------------------------------------------------------------

static int read_some(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct socket *socket = check(L);
  if (status == LUA_YIELD) waited_input(L, socket);
  char bytes[READ_SIZE];
  ssize_t count = take(socket, bytes, sizeof bytes);
  if (count > 0) {
    lua_pushlstring(L, bytes, (size_t)count);
    return 1;
  }
  if (count == 0) return lua_pushnil(L), 1;
  if (!must_wait(errno)) return kf_fail_errno(L, errno, "read from", "the connection");
  await(socket, KF_READ);
  return kf_gate_wait(L, &socket->input, lua_tonumber(L, 2), 0, read_some);
}

// socket:read(timeout) -> bytes, or nil at the end
static int l_read(lua_State *L) {
  check(L);
  deadline_at_2(L);
  return read_some(L, LUA_OK, 0);
}

// [socket text] context: bytes that were written before
static int write_rest(lua_State *L, int status, lua_KContext context) {
  struct socket *socket = check(L);
  size_t length;
  const char *text = lua_tolstring(L, 2, &length);
  size_t written = (size_t)context;
  if (status == LUA_YIELD) kf_gate_waited(L);
  while (written < length) {
    if (socket->fd < 0) return kf_fail(L, "Closed", "the connection is closed");
    ssize_t count = give(socket, text + written, length - written);
    if (count >= 0) {
      written += (size_t)count;
      continue;
    }
    if (!must_wait(errno)) return kf_fail_errno(L, errno, "write to", "the connection");
    await(socket, KF_WRITE);
    return kf_gate_wait(L, &socket->output, HUGE_VAL, (lua_KContext)written, write_rest);
  }
  return 0;
}

// socket:write(text): waits until all is written
static int l_write(lua_State *L) {
  check(L);
  luaL_checkstring(L, 2);
  lua_settop(L, 2);
  return write_rest(L, LUA_OK, 0);
}

// --- terminals ----------------------------------------------------------------------------------

// net.terminal() -> socket, path: a pseudo terminal: its near end, and where programs open the far one
static int l_terminal(lua_State *L) {
  struct socket *socket = new_socket(L);
  socket->terminal = true;
  socket->fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  char path[64];
  if (socket->fd < 0 || grantpt(socket->fd) != 0 || unlockpt(socket->fd) != 0 ||
      ptsname_r(socket->fd, path, sizeof path) != 0)
    return kf_fail_errno(L, errno, "make a terminal", "");
  lua_pushstring(L, path);
  return 2;
}

// socket:resize(rows, columns): of a terminal
static int l_resize(lua_State *L) {
  const struct socket *socket = check(L);
  struct winsize size = {.ws_row = (unsigned short)luaL_checkinteger(L, 2),
                         .ws_col = (unsigned short)luaL_checkinteger(L, 3)};
  if (socket->fd >= 0) ioctl(socket->fd, TIOCSWINSZ, &size);
  return 0;
}

// --- sockets as messages ------------------------------------------------------------------------

union control {
  struct cmsghdr head;
  char bytes[CMSG_SPACE(sizeof(int))];
};

static struct msghdr message_of(struct iovec *text, union control *control) {
  memset(control, 0, sizeof *control);
  return (struct msghdr){.msg_iov = text, .msg_iovlen = 1, .msg_control = control->bytes,
                         .msg_controllen = sizeof control->bytes};
}

// socket:send(text, other): a short text and another socket, over a unix socket
static int l_send(lua_State *L) {
  const struct socket *socket = check(L);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  const struct socket *other = luaL_checkudata(L, 3, TYPE_SOCKET);
  luaL_argcheck(L, length > 0 && length <= TEXT_SIZE, 2, "a short text expected");
  union control control;
  struct iovec part = {.iov_base = (void *)text, .iov_len = length};
  struct msghdr message = message_of(&part, &control);
  control.head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
                                  .cmsg_len = CMSG_LEN(sizeof(int))};
  memcpy(CMSG_DATA(&control.head), &other->fd, sizeof(int));
  if (sendmsg(socket->fd, &message, MSG_NOSIGNAL) < 0)
    return kf_fail_errno(L, errno, "send over", "the connection");
  return 0;
}

static int receive_one(lua_State *L, int status, lua_KContext context) {
  (void)context;
  struct socket *socket = check(L);
  if (status == LUA_YIELD) waited_input(L, socket);
  char text[TEXT_SIZE];
  union control control;
  struct iovec part = {.iov_base = text, .iov_len = sizeof text};
  struct msghdr message = message_of(&part, &control);
  ssize_t count = socket->fd < 0 ? 0 : recvmsg(socket->fd, &message, MSG_CMSG_CLOEXEC);
  if (count < 0 && must_wait(errno)) {
    await(socket, KF_READ);
    return kf_gate_wait(L, &socket->input, lua_tonumber(L, 2), 0, receive_one);
  }
  if (count < 0) return kf_fail_errno(L, errno, "receive from", "the connection");
  int fd = -1;
  if (count > 0 && message.msg_controllen >= CMSG_LEN(sizeof fd))
    memcpy(&fd, CMSG_DATA(&control.head), sizeof fd);
  struct socket *other = fd >= 0 ? new_socket(L) : NULL;
  if (other) other->fd = fd;
  else lua_pushnil(L);
  if (count > 0) lua_pushlstring(L, text, (size_t)count);
  else lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

// socket:receive(timeout) -> text, the socket that came with it or nil; nil at the end
static int l_receive(lua_State *L) {
  check(L);
  deadline_at_2(L);
  return receive_one(L, LUA_OK, 0);
}

// --- the module ---------------------------------------------------------------------------------

int luaopen_kf_net(lua_State *L);
int luaopen_kf_net(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"listen", l_listen}, {"connect", l_connect}, {"terminal", l_terminal}, {NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"accept", l_accept}, {"read", l_read},       {"write", l_write},
      {"finish", l_finish}, {"reset", l_reset},     {"close", l_close},
      {"send", l_send},     {"receive", l_receive}, {"peer", l_peer},
      {"here", l_here},     {"destination", l_destination}, {"resize", l_resize},
      {"__gc", l_close},    {"__close", l_close},   {NULL, NULL},
  };
  luaL_newmetatable(L, TYPE_SOCKET);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  kf_add_try(L, -1);
  return 1;
}
