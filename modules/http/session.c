// A multi handle of libcurl on the loop.
#include "http.h"

#include "state.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

// A socket that libcurl wants to be told of.
struct socket {
  struct kf_watch watch;  // first
  struct session *session;
  struct socket *next;
  int fd, events;
};

// --- what has ended -----------------------------------------------------------------------------

static void take_results(struct session *session) {
  const struct kf_curl *curl = session->curl;
  int left;
  for (CURLMsg *message; (message = curl->multi_info_read(session->multi, &left)) != NULL;) {
    if (message->msg != CURLMSG_DONE) continue;
    struct transfer *transfer = NULL;
    CURLcode result = message->data.result;
    curl->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    kf_transfer_done(transfer, result);
  }
}

static void act(struct session *session, curl_socket_t fd, int events) {
  int running;
  session->curl->multi_socket_action(session->multi, fd, events, &running);
  take_results(session);
}

void kf_session_kick(struct session *session) {
  if (session->multi) act(session, CURL_SOCKET_TIMEOUT, 0);
}

// --- sockets ------------------------------------------------------------------------------------

static void on_ready(struct kf_watch *watch, int events) {
  struct socket *socket = (struct socket *)(void *)watch;
  int mask = (events & KF_READ ? CURL_CSELECT_IN : 0) | (events & KF_WRITE ? CURL_CSELECT_OUT : 0);
  act(socket->session, socket->fd, mask);
}

static void drop_socket(struct session *session, curl_socket_t fd) {
  for (struct socket **at = &session->sockets; *at; at = &(*at)->next) {
    struct socket *socket = *at;
    if (socket->fd != fd) continue;
    kf_watch_stop(session->loop, &socket->watch);
    *at = socket->next;
    free(socket);
    return;
  }
}

static void drop_sockets(struct session *session) {
  struct socket *next;
  for (struct socket *at = session->sockets; at; at = next) {
    next = at->next;
    kf_watch_stop(session->loop, &at->watch);
    free(at);
  }
  session->sockets = NULL;
}

static struct socket *new_socket(struct session *session, curl_socket_t fd) {
  struct socket *socket = calloc(1, sizeof *socket);
  if (!socket) return NULL;
  *socket = (struct socket){.session = session, .fd = fd, .next = session->sockets};
  socket->watch.ready = on_ready;
  session->sockets = socket;
  return socket;
}

static struct socket *find_socket(struct session *session, curl_socket_t fd) {
  for (struct socket *at = session->sockets; at; at = at->next)
    if (at->fd == fd) return at;
  return NULL;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data) {
  (void)easy, (void)socket_data;
  struct session *session = data;
  if (what == CURL_POLL_REMOVE) {
    drop_socket(session, fd);
    return 0;
  }
  struct socket *socket = find_socket(session, fd);
  if (!socket) socket = new_socket(session, fd);
  if (!socket) return -1;
  int events = (what & CURL_POLL_IN ? KF_READ : 0) | (what & CURL_POLL_OUT ? KF_WRITE : 0);
  if (events == socket->events) return 0;
  socket->events = events;
  return kf_watch_start(session->loop, &socket->watch, fd, events) ? 0 : -1;
}

// --- time ---------------------------------------------------------------------------------------

static int start_timer(struct session *session, long milliseconds) {
  double due = kf_loop_now(session->loop) + (double)milliseconds / 1e3;
  return kf_timer_start(session->loop, &session->timer, due) ? 0 : -1;
}

static int on_timer_change(CURLM *multi, long milliseconds, void *data) {
  (void)multi;
  struct session *session = data;
  if (milliseconds >= 0) return start_timer(session, milliseconds);
  kf_timer_stop(session->loop, &session->timer);
  return 0;
}

// libcurl's clock may be behind ours (a test moves it): it would not ask for the same time again.
static void on_time(struct kf_timer *timer) {
  struct session *session =
      (struct session *)(void *)((char *)timer - offsetof(struct session, timer));
  long left = -1;
  act(session, CURL_SOCKET_TIMEOUT, 0);
  if (session->timer.slot) return;
  session->curl->multi_timeout(session->multi, &left);
  if (left >= 0) start_timer(session, left > 0 ? left : 1);
}

// --- beginning and end --------------------------------------------------------------------------

int kf_session_new(lua_State *L) {
  const struct kf_curl *curl = kf_curl(L);
  struct session *session = lua_newuserdatauv(L, sizeof *session, 0);
  *session = (struct session){.curl = curl, .loop = kf_host(L)->loop};
  luaL_setmetatable(L, KF_TYPE_SESSION);
  session->timer.fire = on_time;
  session->multi = curl->multi_init();
  if (!session->multi) return luaL_error(L, "not enough memory");
  curl->multi_setopt(session->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl->multi_setopt(session->multi, CURLMOPT_SOCKETDATA, session);
  curl->multi_setopt(session->multi, CURLMOPT_TIMERFUNCTION, on_timer_change);
  curl->multi_setopt(session->multi, CURLMOPT_TIMERDATA, session);
  return 1;
}

// session:close(): ends its transfers and connections
int kf_session_close(lua_State *L) {
  struct session *session = kf_check_session(L, 1);
  const struct kf_curl *curl = session->curl;
  CURLM *multi = session->multi;
  if (!multi) return 0;
  while (session->transfers) kf_transfer_stop(session->transfers);
  session->multi = NULL;
  curl->multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, NULL);
  curl->multi_setopt(multi, CURLMOPT_TIMERFUNCTION, NULL);
  while (session->spare_count > 0) curl->easy_cleanup(session->spare[--session->spare_count]);
  curl->multi_cleanup(multi);
  drop_sockets(session);
  kf_timer_stop(session->loop, &session->timer);
  return 0;
}
