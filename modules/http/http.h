// Transfers of libcurl on the loop.
//
// A session is a multi handle with its connections; a transfer is one request in it. session.c
// connects the multi handle to the loop, options.c reads what a request shall be, transfer.c
// takes what comes, connect.c gives bare connections. Callbacks of libcurl never touch Lua.
#ifndef KF_HTTP_HTTP_H
#define KF_HTTP_HTTP_H

#include "base/buffer.h"
#include "curl.h"
#include "task.h"

#include <lauxlib.h>
#include <stdbool.h>

#define KF_TYPE_SESSION "kfhost.http.session"
#define KF_TYPE_TRANSFER "kfhost.http.transfer"

enum { KF_SPARE_HANDLES = 8 };

struct socket;

struct session {
  const struct kf_curl *curl;
  struct kf_loop *loop;
  CURLM *multi;  // NULL: closed
  struct kf_timer timer;
  struct socket *sockets;
  struct transfer *transfers;  // those that run
  CURL *spare[KF_SPARE_HANDLES];
  size_t spare_count;
};

// User values of a transfer: its session, the strings that libcurl reads.
enum { KF_TRANSFER_SESSION = 1, KF_TRANSFER_OPTIONS, KF_TRANSFER_VALUES = 2 };

struct transfer {
  struct session *session;
  struct transfer *next, **link;  // while it runs
  CURL *easy;                     // NULL: closed
  CURLcode result;                // when it is done
  bool done, added;
  bool in_headers, has_headers;
  bool read_paused, write_paused;
  bool whole;                     // the body is wanted whole: reading never pauses
  bool too_large;
  size_t max_body;
  long status;
  char version[4];                // "1.1", "2"
  struct kf_buffer headers;       // name '\0' value '\0' …
  struct kf_buffer trailers;      // as headers
  struct kf_buffer body;          // come and not taken
  size_t taken;
  struct kf_buffer upload;        // to be sent
  size_t sent;
  bool upload_ended;
  struct kf_gate changes;
  struct kf_hold hold;            // while it runs
  bool bare;                      // only a connection is wanted
  int fd;                         // of a bare connection that stands, else -1
  int events;                     // what is watched of it
  size_t queued_total, sent_total;  // bytes of it
  struct kf_watch watch;
  struct curl_slist *lines, *connect_to;
  CURLU *address;
  char problem[CURL_ERROR_SIZE];
};

// --- handles.c ----------------------------------------------------------------------------------

struct session *kf_check_session(lua_State *L, int index);
// A handle to be given back by kf_session_return, or NULL.
CURL *kf_session_handle(struct session *session);
void kf_session_return(struct session *session, CURL *easy);

// --- session.c ----------------------------------------------------------------------------------

// [-0, +1, v] core.session() -> session
int kf_session_new(lua_State *L);
int kf_session_close(lua_State *L);
// Goes on after something changed outside the loop's events.
void kf_session_kick(struct session *session);

// --- options.c ----------------------------------------------------------------------------------

// [-0, +?, v] sets up the handle by the options table at index.
void kf_transfer_options(lua_State *L, int options, struct transfer *transfer);

// --- transfer.c ---------------------------------------------------------------------------------

struct transfer *kf_check_transfer(lua_State *L, int index);
// [-0, +1, v] starts one for the session at 1 by the options at 2.
struct transfer *kf_transfer_start(lua_State *L, bool whole, bool bare);
void kf_transfer_done(struct transfer *transfer, CURLcode result);
// Ends it, whatever it does; its connection is dropped when it was in use.
void kf_transfer_stop(struct transfer *transfer);
// Wakes who waits for a change.
void kf_transfer_tell(struct transfer *transfer);
// [-0, +0, v] raises why it failed, for the options of its user value.
int kf_transfer_fail(lua_State *L, struct transfer *transfer, int index);
int kf_transfer_time_out(lua_State *L, struct transfer *transfer, int index, const char *what);

// libcurl's callbacks of a transfer.
size_t kf_on_header(char *line, size_t size, size_t count, void *data);
size_t kf_on_body(char *bytes, size_t size, size_t count, void *data);
size_t kf_on_upload(char *room, size_t size, size_t count, void *data);

int kf_session_start(lua_State *L);
int kf_session_request(lua_State *L);
extern const luaL_Reg kf_transfer_methods[];
int kf_transfer_close(lua_State *L);

// --- connect.c ----------------------------------------------------------------------------------

int kf_session_connect(lua_State *L);
int kf_transfer_send(lua_State *L);
int kf_transfer_receive(lua_State *L);

#endif
