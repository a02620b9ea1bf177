// Several processes of one program: a supervisor without Lua, that forks before there is any
// thread, a controller, and workers that share a listening socket. What dies is replaced; a worker
// that runs longer than it said is killed; SIGHUP starts new workers beside the old ones, which go
// when the new ones are ready, SIGTERM lets all finish.
//
// The processes share a piece of memory: a slot for each (what it does now), and boxes of text that
// one of them publishes and the others read. `require "workers"` is the Lua side of it.
#ifndef KF_SUPERVISE_H
#define KF_SUPERVISE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { KF_SLOTS = 64, KF_LABEL = 192 };
enum kf_role { KF_ROLE_NONE, KF_ROLE_CONTROLLER, KF_ROLE_WORKER };

// Text that one process publishes: two halves, one of them current.
struct kf_box {
  _Atomic uint64_t version;  // 0: nothing was published; odd and even are the halves
  size_t capacity;           // of a half
  size_t length[2];
  size_t offset;             // of the halves, from the beginning of the shared memory
};

struct kf_slot {
  // The supervisor writes:
  pid_t pid;                 // 0: free
  enum kf_role role;
  unsigned generation;
  unsigned load;             // what it has loaded, by number: a reload that fails has one, too
  int place;                 // of its sources
  double started;            // monotonic seconds
  _Atomic bool drain;        // the process is to finish and end
  // The process writes:
  _Atomic bool ready;
  _Atomic unsigned connections;
  _Atomic uint64_t busy_until;  // monotonic nanoseconds after which it is hung; 0: idle
  char label[KF_LABEL];      // what it is busy with
  struct kf_box report;
  // What a worker that has ended counted stays in its slot until the controller has taken it:
  _Atomic pid_t ended;       // that worker; 0: none, or it was taken
};

struct kf_shared {
  struct kf_slot slots[KF_SLOTS];
  struct kf_box certificate, cache;
  struct kf_box sources[2];     // what was loaded: of the processes that serve, and of a reload
  _Atomic unsigned claimed[2];  // the load whose sources one process reads, for all that come after it
  struct kf_box paths, totals;  // what was ever answered here; what workers before have counted
  _Atomic uint64_t cache_time;  // monotonic nanoseconds when the cache was last known to be up to date
  _Atomic bool reload;          // a process asks for what SIGHUP asks for
  _Atomic bool leaving;         // told to end: reviews are still taken, while it is told around
  int webhook_fd, operations_fd;
  int wake_fd;  // a byte written here makes the supervisor look
};

// The supervisor by a specification "address port operations_port workers leave": for the seconds
// of the last one it goes on after SIGTERM, so that callers learn that it leaves. It returns in the
// processes that it starts, and nowhere else.
void kf_supervise(const char *specification);

// The memory that this process shares with its supervisor, and its own slot; NULL without one.
struct kf_shared *kf_shared(void);
struct kf_slot *kf_own_slot(void);

// Whether another process that does the same as this one has fewer connections than this one.
bool kf_others_have_room(void);

// false when the text is too long for the box. One process at a time publishes in a box.
bool kf_box_publish(struct kf_box *box, const char *text, size_t length);
// Copies the text to `room`, if its length is not more than `size`: so the caller asks again with
// more room. *version: what was read; 0 when nothing was published.
size_t kf_box_read(const struct kf_box *box, char *room, size_t size, uint64_t *version);

#endif
