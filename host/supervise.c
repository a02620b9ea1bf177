#include "supervise.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  CERTIFICATE_ROOM = 1 << 16,
  REPORT_ROOM = 1 << 21,
  SOURCES_ROOM = 1 << 24,
  PATHS_ROOM = 1 << 20,
  TOTALS_ROOM = 1 << 22,
  CACHE_ROOM = 192 << 20,  // only what is used of it becomes memory
  TICK = 100,            // milliseconds between looks at the processes
  GRACE = 30,            // seconds that processes have to finish
};

static struct kf_shared *shared;
static struct kf_slot *own;

static struct {
  int workers;
  unsigned generation;   // of the processes that serve
  unsigned load, loads;  // what they have loaded; the last one that was begun
  int place;             // of its sources
  bool wanted;           // a reload, as soon as nothing else is being started
  bool reloading;        // workers of the next generation are being started
  bool serving;          // the first generation was ready
  int stopping;          // the signal that ends all, or 0
  double stop_deadline;
  int leave_signal;
  double leave, leave_at;  // seconds between SIGTERM and the end of new reviews; when that is over
  int signals;           // descriptor
  int wake[2];
  double not_before;     // when the next replacement may start
  double delay;
} state;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// --- shared memory ------------------------------------------------------------------------------

struct kf_shared *kf_shared(void) {
  return own ? shared : NULL;
}

struct kf_slot *kf_own_slot(void) {
  return own;
}

bool kf_others_have_room(void) {
  for (int i = 0; own && i < KF_SLOTS; i++) {
    struct kf_slot *slot = &shared->slots[i];
    bool alike = slot->pid && slot != own && slot->role == own->role && slot->ready && !slot->drain;
    if (alike && slot->connections < own->connections) return true;
  }
  return false;
}

static size_t place_box(struct kf_box *box, size_t offset, size_t capacity) {
  box->offset = offset;
  box->capacity = capacity;
  return offset + 2 * capacity;
}

static void share_memory(void) {
  size_t offset = (sizeof *shared + 4095) & ~(size_t)4095;
  size_t size = offset + 2 * ((size_t)CERTIFICATE_ROOM + CACHE_ROOM + 2 * SOURCES_ROOM + PATHS_ROOM +
                              TOTALS_ROOM + (size_t)KF_SLOTS * REPORT_ROOM);
  shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (shared == MAP_FAILED) {
    perror("kfhost: shared memory");
    exit(1);
  }
  offset = place_box(&shared->certificate, offset, CERTIFICATE_ROOM);
  offset = place_box(&shared->cache, offset, CACHE_ROOM);
  for (int i = 0; i < 2; i++) offset = place_box(&shared->sources[i], offset, SOURCES_ROOM);
  offset = place_box(&shared->paths, offset, PATHS_ROOM);
  offset = place_box(&shared->totals, offset, TOTALS_ROOM);
  for (int i = 0; i < KF_SLOTS; i++)
    offset = place_box(&shared->slots[i].report, offset, REPORT_ROOM);
}

static char *half_of(const struct kf_box *box, uint64_t version) {
  return (char *)shared + box->offset + (version & 1) * box->capacity;
}

bool kf_box_publish(struct kf_box *box, const char *text, size_t length) {
  if (length > box->capacity) return false;
  uint64_t next = atomic_load(&box->version) + 1;
  memcpy(half_of(box, next), text, length);
  box->length[next & 1] = length;
  atomic_store(&box->version, next);
  return true;
}

size_t kf_box_read(const struct kf_box *box, char *room, size_t size, uint64_t *version) {
  size_t length;
  do {
    *version = atomic_load(&box->version);
    length = *version ? box->length[*version & 1] : 0;
    if (length > 0 && length <= size) memcpy(room, half_of(box, *version), length);
  } while (atomic_load(&box->version) != *version);
  return length;
}

// --- what is said -------------------------------------------------------------------------------

static const char *role_name(enum kf_role role) {
  return role == KF_ROLE_WORKER ? "worker" : "controller";
}

__attribute__((format(printf, 2, 3))) static void say(const char *level, const char *format, ...) {
  char message[512], stamp[32];
  time_t time_now = time(NULL);
  struct tm fields;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);  // NOLINT(clang-analyzer-valist.Uninitialized)
  va_end(arguments);
  strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&time_now, &fields));
  dprintf(2, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"%s\"}\n", stamp, level, message);
}

// The label as far as it can stand in a JSON text as it is.
static void copy_label(const struct kf_slot *slot, char *text) {
  size_t length = 0;
  for (; length < KF_LABEL - 1 && slot->label[length]; length++) {
    char c = slot->label[length];
    text[length] = (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) ? '?' : c;
  }
  text[length] = '\0';
}

// --- sockets ------------------------------------------------------------------------------------

static int open_listener(const char *address, const char *port) {
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE | AI_NUMERICSERV,
                           .ai_socktype = SOCK_STREAM};
  struct addrinfo *found = NULL;
  int one = 1;
  if (getaddrinfo(address, port, &hints, &found) != 0) {
    fprintf(stderr, "kfhost: '%s' is no address\n", address);
    exit(2);
  }
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  // connections inherit it
  if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 1024) != 0) {
    fprintf(stderr, "kfhost: cannot listen on %s:%s: %s\n", address, port, strerror(errno));
    exit(1);
  }
  freeaddrinfo(found);
  return fd;
}

static void read_specification(const char *text) {
  char address[64], port[8], operations[8];
  if (sscanf(text, "%63s %7s %7s %d %lf", address, port, operations, &state.workers, &state.leave) != 5 ||
      state.leave < 0 || state.workers < 1 || state.workers > KF_SLOTS / 3) {
    fprintf(stderr, "kfhost: --supervise is for kfhost itself\n");
    exit(2);
  }
  shared->webhook_fd = open_listener(address, port);
  shared->operations_fd = open_listener(address, operations);
}

// --- processes ----------------------------------------------------------------------------------

static int count_of(enum kf_role role, unsigned generation, bool ready) {
  int count = 0;
  for (int i = 0; i < KF_SLOTS; i++) {
    struct kf_slot *slot = &shared->slots[i];
    count += slot->pid && slot->role == role && slot->generation == generation && !slot->drain &&
             (!ready || slot->ready);
  }
  return count;
}

static void become_child(struct kf_slot *slot, pid_t supervisor, const sigset_t *mask) {
  own = slot;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != supervisor) _exit(1);  // it died before the line above
  setpgid(0, 0);  // Ctrl-C is for the supervisor
  close(state.signals);
  close(state.wake[0]);
  sigprocmask(SIG_UNBLOCK, mask, NULL);
}

// One whose last report was taken, where there is one.
static struct kf_slot *free_slot(void) {
  struct kf_slot *slot = NULL;
  for (int i = 0; i < KF_SLOTS; i++) {
    if (shared->slots[i].pid) continue;
    if (!shared->slots[i].ended) return &shared->slots[i];
    if (!slot) slot = &shared->slots[i];
  }
  return slot;
}

// True in the new process.
static bool start(enum kf_role role, unsigned generation, const sigset_t *mask) {
  struct kf_slot *slot = free_slot();
  if (!slot) return false;
  pid_t supervisor = getpid();
  slot->role = role;
  slot->generation = generation;
  slot->load = generation == state.generation ? state.load : state.loads;
  slot->place = generation == state.generation ? state.place : 1 - state.place;
  slot->started = now();
  slot->ready = slot->drain = false;
  slot->busy_until = 0;
  slot->connections = 0;
  slot->report.version = 0;
  slot->ended = 0;
  pid_t pid = fork();
  if (pid == 0) {
    slot->pid = getpid();
    become_child(slot, supervisor, mask);
    return true;
  }
  slot->pid = pid > 0 ? pid : 0;
  if (pid < 0) say("error", "cannot start a %s: %s", role_name(role), strerror(errno));
  return false;
}

// Those of a generation (or of all, for 0) are to finish.
static void drain(unsigned generation) {
  for (int i = 0; i < KF_SLOTS; i++) {
    struct kf_slot *slot = &shared->slots[i];
    if (slot->pid && (generation == 0 || slot->generation == generation)) slot->drain = true;
  }
}

static void stop(int signal) {
  if (state.stopping) return;
  state.stopping = signal;
  state.stop_deadline = now() + GRACE;
  drain(0);
}

static void kill_all(void) {
  for (int i = 0; i < KF_SLOTS; i++)
    if (shared->slots[i].pid) kill(shared->slots[i].pid, SIGKILL);
}

// Something died by itself: how long until the next may start grows while they die young.
static void note_death(const struct kf_slot *slot) {
  bool young = now() - slot->started < 2;
  state.delay = young ? (state.delay < 0.1 ? 0.1 : state.delay * 2) : 0;
  if (state.delay > 5) state.delay = 5;
  state.not_before = now() + state.delay;
}

static void say_death(const struct kf_slot *slot, int status) {
  char label[KF_LABEL] = "";
  if (slot->busy_until) copy_label(slot, label);
  const char *during = *label ? " during " : "";
  if (WIFSIGNALED(status))
    say("error", "%s %d was killed by signal %d%s%s", role_name(slot->role), (int)slot->pid,
        WTERMSIG(status), during, label);
  else
    say("error", "%s %d ended with code %d%s%s", role_name(slot->role), (int)slot->pid,
        WEXITSTATUS(status), during, label);
}

static void bury(struct kf_slot *slot, int status) {
  bool told = slot->drain;
  if (!told) say_death(slot, status);
  if (!told) note_death(slot);
  bool of_next = slot->generation > state.generation;
  if (slot->report.version) slot->ended = slot->pid;
  slot->pid = 0;
  if (told || state.stopping) return;
  if (of_next) {  // a reload that fails: the old ones go on
    say("error", "the reload failed; what was loaded before goes on");
    drain(state.generation + 1);
    state.reloading = false;
  } else if (!state.serving && !slot->ready) {  // nothing ever worked
    stop(0);
    state.stopping = -1;
  }
}

static void reap(void) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
    for (int i = 0; i < KF_SLOTS; i++)
      if (shared->slots[i].pid == pid) bury(&shared->slots[i], status);
}

// --- what there should be -----------------------------------------------------------------------

static void kill_hung(void) {
  uint64_t time = (uint64_t)(now() * 1e9);
  for (int i = 0; i < KF_SLOTS; i++) {
    struct kf_slot *slot = &shared->slots[i];
    uint64_t until = slot->busy_until;
    if (slot->pid && until && time > until) kill(slot->pid, SIGKILL);
  }
}

static void finish_reload(void) {
  unsigned next = state.generation + 1;
  if (!state.reloading || count_of(KF_ROLE_WORKER, next, true) < state.workers) return;
  drain(state.generation);
  state.generation = next;
  state.load = state.loads;
  state.place = 1 - state.place;
  state.reloading = false;
  say("info", "reloaded: generation %u", next);
}

static bool controller_is_gone(void) {
  for (int i = 0; i < KF_SLOTS; i++)
    if (shared->slots[i].pid && shared->slots[i].role == KF_ROLE_CONTROLLER) return false;
  return true;
}

// Starts the workers of a generation that are missing. True in a new process.
static bool start_workers(unsigned generation, const sigset_t *mask) {
  for (int there; (there = count_of(KF_ROLE_WORKER, generation, false)) < state.workers;) {
    if (start(KF_ROLE_WORKER, generation, mask)) return true;
    if (count_of(KF_ROLE_WORKER, generation, false) == there) break;  // it cannot be started now
  }
  return false;
}

// Starts what is missing. True in a new process.
static bool complete(const sigset_t *mask) {
  if (state.stopping || now() < state.not_before) return false;
  if (controller_is_gone() && start(KF_ROLE_CONTROLLER, state.generation, mask)) return true;
  // Workers need the certificate, which the first controller makes.
  if (!state.serving && count_of(KF_ROLE_CONTROLLER, state.generation, true) == 0) return false;
  if (start_workers(state.generation, mask)) return true;
  if (count_of(KF_ROLE_WORKER, state.generation, true) == state.workers) state.serving = true;
  if (state.wanted && state.serving && !state.reloading) {
    state.wanted = false;
    state.reloading = true;
    state.loads++;
    shared->sources[1 - state.place].version = 0;
  }
  return state.reloading && start_workers(state.generation + 1, mask);
}

static bool any_process(void) {
  for (int i = 0; i < KF_SLOTS; i++)
    if (shared->slots[i].pid) return true;
  return false;
}

// --- the loop -----------------------------------------------------------------------------------

// The first time it goes on for a while; the second time it stops, the third time at once.
static void leave(int signal) {
  if (state.stopping) kill_all();
  bool waits = state.leave > 0 && !shared->leaving && state.serving;
  shared->leaving = true;
  if (!waits) {
    stop(signal);
    return;
  }
  state.leave_signal = signal;
  state.leave_at = now() + state.leave;
}

static void take_signals(void) {
  struct signalfd_siginfo info;
  while (read(state.signals, &info, sizeof info) == (ssize_t)sizeof info) {
    switch (info.ssi_signo) {
    case SIGHUP: state.wanted = true; break;
    case SIGTERM:
    case SIGINT:
      leave((int)info.ssi_signo);
      break;
    default: break;  // SIGCHLD: reap looks
    }
  }
}

static void wait_for_events(void) {
  char bytes[64];
  struct pollfd fds[] = {{state.signals, POLLIN, 0}, {state.wake[0], POLLIN, 0}};
  poll(fds, 2, TICK);
  while (read(state.wake[0], bytes, sizeof bytes) > 0) {
  }
  if (atomic_exchange(&shared->reload, false)) state.wanted = true;
}

static void watch_signals(sigset_t *mask) {
  sigemptyset(mask);
  sigaddset(mask, SIGCHLD);
  sigaddset(mask, SIGTERM);
  sigaddset(mask, SIGINT);
  sigaddset(mask, SIGHUP);
  sigprocmask(SIG_BLOCK, mask, NULL);
  state.signals = signalfd(-1, mask, SFD_NONBLOCK | SFD_CLOEXEC);
  if (state.signals < 0 || pipe2(state.wake, O_NONBLOCK | O_CLOEXEC) != 0) {
    perror("kfhost: signals");
    exit(1);
  }
  shared->wake_fd = state.wake[1];
}

void kf_supervise(const char *specification) {
  sigset_t mask;
  share_memory();
  read_specification(specification);
  watch_signals(&mask);
  state.generation = state.load = state.loads = 1;
  for (;;) {
    take_signals();
    reap();
    kill_hung();
    finish_reload();
    if (state.leave_signal && !state.stopping && now() >= state.leave_at) stop(state.leave_signal);
    if (complete(&mask)) return;
    if (state.stopping && !any_process()) break;
    if (state.stopping && now() > state.stop_deadline) kill_all();
    wait_for_events();
  }
  exit(state.stopping > 0 ? 128 + state.stopping : 1);
}
