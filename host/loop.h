// The event loop: file descriptors and timers, over libevent for the waiting.
// Timers and the clock are ours, so that a test can move time by hand. Callbacks run from
// kf_loop_once only; they must not raise Lua errors.
//
// Offers: 1. the clock   2. timers   3. watches of file descriptors   4. one turn
#ifndef KF_LOOP_H
#define KF_LOOP_H

#include <stdbool.h>
#include <stddef.h>

struct kf_loop;
struct event;
struct event_base;

// NULL when memory is out. What is still started when a loop is freed is stopped, so that its
// owners may outlive it.
struct kf_loop *kf_loop_new(void);
void kf_loop_free(struct kf_loop *loop);

// Stops everything without telling anyone: the program is about to end.
void kf_loop_forget(struct kf_loop *loop);

// libevent's own handle, for units that use libevent beyond this header (the HTTP server). Made
// when it is first needed; NULL when memory or descriptors are out.
struct event_base *kf_loop_base(struct kf_loop *loop);

// --- 1. the clock: seconds, monotonic, of no particular origin --------------------------------
double kf_loop_now(struct kf_loop *loop);

// Under manual time the clock stands still while nothing but timers is waited for, and jumps from
// timer to timer up to the time that kf_loop_allow names; with a watch started it also runs.
void kf_loop_set_manual_time(struct kf_loop *loop, bool manual);
void kf_loop_allow(struct kf_loop *loop, double until);

// --- 2. timers: embedded in their owner, which keeps them alive until fired or stopped ----------
struct kf_timer {
  double due;
  size_t slot;  // place in the heap counted from 1; 0 = not started
  unsigned long order;  // timers due at the same time fire in the order of their start
  bool awaited;  // the program's end waits for it (a child was told to stop, and will be made to)
  void (*fire)(struct kf_timer *timer);
};
bool kf_timer_start(struct kf_loop *loop, struct kf_timer *timer, double due);  // false: no memory
void kf_timer_stop(struct kf_loop *loop, struct kf_timer *timer);
size_t kf_loop_timers(const struct kf_loop *loop);
bool kf_loop_awaited(const struct kf_loop *loop);  // whether an awaited one is started

// --- 3. watches: embedded in their owner; persistent until stopped ----------------------------
// With KF_SIGNAL alone, `fd` is the number of a signal instead.
enum { KF_READ = 1, KF_WRITE = 2, KF_SIGNAL = 4 };
struct kf_watch {
  struct event *event;
  struct kf_watch *next, **link;  // all started watches of the loop
  bool quiet;  // not something that is waited for: the loop is idle in spite of it
  void (*ready)(struct kf_watch *watch, int events);
};
bool kf_watch_start(struct kf_loop *loop, struct kf_watch *watch, int fd, int events);
void kf_watch_stop(struct kf_loop *loop, struct kf_watch *watch);
size_t kf_loop_watches(const struct kf_loop *loop);

// A hold stands for something that waits for the outside world without a watch of ours (a transfer
// whose reader is slow, a name being resolved), so that the loop does not think itself idle.
struct kf_hold {
  struct kf_hold *next, **link;
};
void kf_hold_start(struct kf_loop *loop, struct kf_hold *hold);
void kf_hold_stop(struct kf_loop *loop, struct kf_hold *hold);
size_t kf_loop_holds(const struct kf_loop *loop);

// --- 4. one turn --------------------------------------------------------------------------------
// Fires what is due and ready; waits for it first when `block`. false when it would have waited
// for ever: nothing is watched, and no timer can come due.
bool kf_loop_once(struct kf_loop *loop, bool block);

#endif
