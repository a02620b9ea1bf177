// load: sends requests over kept connections and measures the answers.
//
//   load [--tls] [--connections N] [--rate PER_SECOND] [--seconds S] [--answers DIR]
//        ADDRESS:PORT PATH BODY_FILE…
//
// With a rate the loop is open: requests are due at fixed times, whether or not the server keeps
// up, and the time of each counts from when it was due. Without one each connection sends its next
// request when it has the answer. The first answer to a body is its reference (written to DIR);
// each later one must be equal to it, byte by byte. Prints one line of JSON.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BODIES = 256, ROOM = 1 << 20 };

struct body {
  const char *name;
  char *request, *answer;
  size_t length, answer_length;
};

struct line {
  SSL *ssl;
  int fd;
  bool busy;
  struct body *body;
  size_t sent, got;
  double due;
  char *room;
};

static struct {
  bool tls;
  int connections;
  double rate, seconds;
  const char *answers, *path;
  struct sockaddr_in address;
  struct body bodies[MOST_BODIES];
  size_t body_count;
} options = {.connections = 1, .seconds = 5};

static struct line *lines;
static int poller;
static double started;
static size_t issued, answered, refused, different, latency_capacity;
static float *latencies;

static void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// --- what is sent -------------------------------------------------------------------------------

static void read_body(const char *name) {
  struct body *body = &options.bodies[options.body_count++];
  FILE *file = fopen(name, "rb");
  if (!file) die(name);
  char *text = malloc(ROOM);
  size_t length = fread(text, 1, ROOM, file);
  fclose(file);
  body->name = name;
  body->request = malloc(ROOM + 1024);
  int head = snprintf(body->request, 1024,
                      "POST %s HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\n"
                      "Accept: application/json, */*\r\nUser-Agent: load\r\n"
                      "Content-Length: %zu\r\n\r\n", options.path, length);
  memcpy(body->request + head, text, length);
  body->length = (size_t)head + length;
  free(text);
}

static void watch(struct line *line, unsigned events, int how) {
  struct epoll_event event = {.events = events, .data.ptr = line};
  if (epoll_ctl(poller, how, line->fd, &event) != 0) die("epoll");
}

static void open_line(struct line *line, SSL_CTX *context) {
  int one = 1;
  line->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(line->fd, (struct sockaddr *)&options.address, sizeof options.address) != 0)
    die("connect");
  setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (context) {
    line->ssl = SSL_new(context);
    SSL_set_fd(line->ssl, line->fd);
    if (SSL_connect(line->ssl) != 1) die("TLS");
  }
  fcntl(line->fd, F_SETFL, O_NONBLOCK);
  line->room = malloc(ROOM);
  watch(line, EPOLLIN, EPOLL_CTL_ADD);
}

static long send_bytes(struct line *line, const char *bytes, size_t length) {
  if (line->ssl) return SSL_write(line->ssl, bytes, (int)length);
  return send(line->fd, bytes, length, MSG_NOSIGNAL);
}

static void go_on_sending(struct line *line) {
  while (line->sent < line->body->length) {
    long count = send_bytes(line, line->body->request + line->sent, line->body->length - line->sent);
    if (count <= 0) {
      watch(line, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
      return;
    }
    line->sent += (size_t)count;
  }
}

static void send_next(struct line *line, double due) {
  line->busy = true;
  line->body = &options.bodies[issued++ % options.body_count];
  line->due = due;
  line->sent = line->got = 0;
  go_on_sending(line);
}

// --- what comes back ----------------------------------------------------------------------------

// The length of the whole answer, or 0 when its head is not there yet.
static size_t answer_size(const char *text, size_t length, size_t *body) {
  const char *end = memmem(text, length, "\r\n\r\n", 4);
  if (!end) return 0;
  *body = (size_t)(end + 4 - text);
  for (const char *at = text; at < end; at++) {
    if (strncasecmp(at, "\r\ncontent-length:", 17) == 0)
      return *body + strtoul(at + 17, NULL, 10);
  }
  fprintf(stderr, "load: an answer without a length\n");
  exit(1);
}

static void keep_answer(struct body *body, const char *text, size_t length) {
  body->answer = malloc(length + 1);
  body->answer_length = length;
  memcpy(body->answer, text, length);
  if (!options.answers) return;
  char path[4096];
  const char *slash = strrchr(body->name, '/');
  snprintf(path, sizeof path, "%s/%s", options.answers, slash ? slash + 1 : body->name);
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(text, 1, length, file) != length || fclose(file) != 0) die(path);
}

static void record(double seconds) {
  if (answered == latency_capacity) {
    latency_capacity = latency_capacity ? latency_capacity * 2 : 65536;
    latencies = realloc(latencies, latency_capacity * sizeof *latencies);
  }
  latencies[answered++] = (float)seconds;
}

static void take_answer(struct line *line, size_t head, size_t size) {
  struct body *body = line->body;
  record(now() - line->due);
  if (memcmp(line->room + 9, "200", 3) != 0) refused++;
  if (!body->answer) keep_answer(body, line->room + head, size - head);
  bool same = body->answer_length == size - head &&
              memcmp(body->answer, line->room + head, size - head) == 0;
  if (!same) different++;
  line->busy = false;
}

static void receive(struct line *line) {
  for (;;) {
    size_t left = ROOM - line->got;
    long count = line->ssl ? SSL_read(line->ssl, line->room + line->got, (int)left)
                           : recv(line->fd, line->room + line->got, left, 0);
    bool blocked = count < 0 && (line->ssl ? SSL_get_error(line->ssl, (int)count) == SSL_ERROR_WANT_READ
                                           : errno == EAGAIN);
    if (blocked) return;
    if (count <= 0) {
      fprintf(stderr, "load: the server ended a connection\n");
      exit(1);
    }
    line->got += (size_t)count;
    size_t head = 0, size = answer_size(line->room, line->got, &head);
    if (size && line->got >= size) {
      take_answer(line, head, size);
      return;
    }
  }
}

// --- the loop -----------------------------------------------------------------------------------

static struct line *idle_line(void) {
  static int next;
  for (int i = 0; i < options.connections; i++) {
    struct line *line = &lines[(next + i) % options.connections];
    if (line->busy) continue;
    next = (next + i + 1) % options.connections;
    return line;
  }
  return NULL;
}

// Sends what is due; how long until the next is (seconds, at most 0.1).
static double send_due(void) {
  for (;;) {
    double time = now(), due = options.rate > 0 ? started + (double)issued / options.rate : time;
    if (time - started >= options.seconds) return 0.1;
    if (due > time) return due - time;
    struct line *line = idle_line();
    if (!line) return 0.1;
    send_next(line, due);
  }
}

static bool any_busy(void) {
  for (int i = 0; i < options.connections; i++)
    if (lines[i].busy) return true;
  return false;
}

static void run(void) {
  struct epoll_event events[64];
  started = now();
  for (;;) {
    double wait = send_due();
    if (now() - started >= options.seconds && !any_busy()) return;
    struct timespec timeout = {0, (long)(wait * 1e9)};
    int count = epoll_pwait2(poller, events, 64, &timeout, NULL);
    for (int i = 0; i < count; i++) {
      struct line *line = events[i].data.ptr;
      if (events[i].events & EPOLLOUT) {
        watch(line, EPOLLIN, EPOLL_CTL_MOD);
        go_on_sending(line);
      }
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(line);
    }
  }
}

static int by_size(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static double quantile(double part) {
  size_t index = (size_t)(part * (double)answered);
  return answered ? (double)latencies[index < answered ? index : answered - 1] * 1e3 : 0;
}

static void report(double seconds) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  qsort(latencies, answered, sizeof *latencies, by_size);
  printf("{\"answers\":%zu,\"per_second\":%.0f,\"refused\":%zu,\"different\":%zu,"
         "\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,"
         "\"own_cpu\":%.2f}\n", answered, (double)answered / seconds, refused, different,
         quantile(.5), quantile(.9), quantile(.99), quantile(.999), quantile(1), cpu / seconds);
}

// --- arguments ----------------------------------------------------------------------------------

static void usage(void) {
  fprintf(stderr, "usage: load [--tls] [--connections N] [--rate R] [--seconds S] [--answers DIR] "
                  "ADDRESS:PORT PATH BODY_FILE…\n");
  exit(2);
}

static void parse_address(char *text) {
  char *colon = strchr(text, ':');
  if (!colon) usage();
  *colon = '\0';
  options.address.sin_family = AF_INET;
  options.address.sin_port = htons((unsigned short)atoi(colon + 1));
  if (inet_pton(AF_INET, text, &options.address.sin_addr) != 1) usage();
}

static void parse(int count, char **words) {
  int at = 1;
  for (; at < count && strncmp(words[at], "--", 2) == 0; at++) {
    const char *name = words[at] + 2;
    if (strcmp(name, "tls") == 0) {
      options.tls = true;
      continue;
    }
    if (++at == count) usage();
    if (strcmp(name, "connections") == 0) options.connections = atoi(words[at]);
    else if (strcmp(name, "rate") == 0) options.rate = atof(words[at]);
    else if (strcmp(name, "seconds") == 0) options.seconds = atof(words[at]);
    else if (strcmp(name, "answers") == 0) options.answers = words[at];
    else usage();
  }
  if (count - at < 3 || count - at - 2 > MOST_BODIES || options.connections < 1) usage();
  parse_address(words[at++]);
  options.path = words[at++];
  for (; at < count; at++) read_body(words[at]);
}

int main(int count, char **words) {
  parse(count, words);
  SSL_CTX *context = options.tls ? SSL_CTX_new(TLS_client_method()) : NULL;
  if (context) SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  poller = epoll_create1(0);
  lines = calloc((size_t)options.connections, sizeof *lines);
  for (int i = 0; i < options.connections; i++) open_line(&lines[i], context);
  run();
  report(now() - started);
  return refused || different ? 1 : 0;
}
