// An HTTP/1.1 server on the loop: connections in C, a task for each request.
//
// server.c listens and is the Lua side; connection.c moves bytes and knows when a request is
// whole; tls.c makes contexts; request.c and response.c are between a request and its handler.
// A connection is plain memory of the server's; an exchange is the userdata of one request, which
// its task holds. Each knows the other, until one of them ends.
#ifndef KF_SERVER_SERVER_H
#define KF_SERVER_SERVER_H

#include "base/buffer.h"
#include "head.h"
#include "state.h"
#include "task.h"

#include <openssl/ssl.h>

#define KF_TYPE_SERVER "kfhost.server"
#define KF_TYPE_EXCHANGE "kfhost.exchange"

// User values of a server: the handler, the function for errors, the thread for protected calls.
enum { KF_SERVER_HANDLER = 1, KF_SERVER_ON_ERROR, KF_SERVER_THREAD, KF_SERVER_VALUES = 3 };

struct connection;

// What was refused without a handler, by status; 0 stands for a handshake that failed.
enum { KF_REFUSALS = 12 };
struct refusals {
  int status[KF_REFUSALS];
  size_t count[KF_REFUSALS];
  size_t kinds;
  const char *handshake;  // why the last one failed, or NULL
};

struct server {
  struct host *host;
  struct kf_loop *loop;
  lua_State *L;  // a thread of its own, for protected calls from events
  int fd;        // -1 when it does not listen
  int port;
  char *path;    // of the unix socket, to be removed
  struct kf_watch accepting;
  bool shared;         // other processes listen to the same socket
  bool waited;         // for them to take a connection
  struct kf_timer pause;  // out of descriptors: until it tries again
  struct kf_hold hold;    // while it is open
  SSL_CTX *tls;           // NULL: plain
  struct connection *connections;
  size_t count, most_connections;
  size_t handling, most_requests;  // requests that have a task
  size_t max_body, max_header;
  double idle_timeout, request_timeout;
  bool draining;
  bool raw;               // each connection is one request without a head
  struct kf_gate empty;   // open when it does not listen and has no connection
  char date[32];          // as the header says it, for `date_second`
  long date_second;
  struct kf_head head;    // the head that was parsed last
  struct refusals refusals;
};

// The states in which the bytes of a connection mean different things.
enum phase {
  READ_HEAD,   // between requests, or in a head
  READ_BODY,
  HANDLING,    // the handler runs, or its answer is being written
  UPGRADED,    // bytes are the handler's
  LINGERING,   // answered for good; what still comes is thrown away
};

struct connection {
  struct kf_watch watch;  // first, so that the event finds the connection
  struct kf_timer timer;
  double deadline;
  struct server *server;
  struct connection *next, **link;
  struct exchange *exchange;
  SSL *ssl;
  const char *handshake;  // why OpenSSL has refused it, or NULL
  int fd, events;
  enum phase phase;
  struct kf_buffer in;   // [head][body as far as it is decoded][what is not understood yet]
  size_t head_length, body_length, scanned;
  struct kf_chunks chunks;
  uint64_t content_length;
  bool chunked, keep_alive, old;
  bool started;          // the first byte of a request was read
  bool served;           // it has had a request
  bool ended;            // the client has sent its last byte
  bool late;             // it was given more time, for bytes that had not been read
  struct kf_buffer out;
  size_t written;        // of out
  const char *rest;      // goes after out; a string that the waiting task holds
  size_t rest_length;
  int peer;              // reference to the table, or LUA_NOREF
};

struct exchange {
  struct connection *connection;  // NULL when it is over
  struct kf_task *task;           // anchored as user value 1
  struct kf_gate changes;         // bytes came or went, or the connection ended
  enum { ANSWER_NONE, ANSWER_WHOLE, ANSWER_STREAM, ANSWER_UPGRADE } answer;
  bool head_only, chunked;
};

// --- connection.c -------------------------------------------------------------------------------

// Takes over the descriptor; closes it when there is no memory.
void kf_connection_open(struct server *server, int fd);
// Ends it now; `reset` tells the client that it was no orderly end.
void kf_connection_close(struct connection *connection, bool reset);
// Writes as much of out and rest as goes. false when the connection has ended by that.
bool kf_connection_flush(struct connection *connection);
static inline bool kf_connection_flushed(const struct connection *connection) {
  return connection->written == connection->out.length && connection->rest_length == 0;
}
// The answer is written: to the next request, or to the end.
void kf_connection_next(struct connection *connection);
// Its request is over: parts it from the exchange.
void kf_connection_release(struct connection *connection);
// The server drains: one without a request gets a moment, for what is on its way.
void kf_connection_drain(struct connection *connection);
// Of an upgraded one: goes on reading after its input was taken.
void kf_connection_resume(struct connection *connection);

// --- request.c ----------------------------------------------------------------------------------

// A request is whole: makes its task. false when memory is out.
bool kf_request_start(struct connection *connection);
struct exchange *kf_check_exchange(lua_State *L, int index);

// --- response.c ---------------------------------------------------------------------------------

// Counts one more.
void kf_refusals_add(struct refusals *refusals, int status);
// Puts a refusal without a handler into out.
void kf_response_refuse(struct connection *connection, int status);
// The main function of a request's task: [exchange, handler, request].
int kf_response_serve(lua_State *L);
extern const luaL_Reg kf_exchange_methods[];
int kf_exchange_upgrade(lua_State *L);

// --- tls.c --------------------------------------------------------------------------------------

// [-0, +0, v] a context; client_ca may be NULL. Raises "Certificate".
SSL_CTX *kf_tls_context(lua_State *L, const char *certificate, const char *key,
                        const char *client_ca, bool required);
// [-0, +0, m] adds common_name and organizations of the client's certificate to the table on top.
void kf_tls_add_peer(lua_State *L, SSL *ssl);

#endif
