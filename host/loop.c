#include "loop.h"

#include <event2/event.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

struct kf_loop {
  struct event_base *base;
  struct event *alarm;       // wakes libevent for the earliest timer
  struct kf_timer **heap;    // heap[0] is unused: slots count from 1
  size_t timers, capacity;
  size_t watches, holds, awaited;
  unsigned long started;     // timers so far
  struct kf_watch *watched;
  struct kf_hold *held;
  bool manual;
  double frozen;             // manual time: the clock while nothing is watched
  double real_start;         // manual time: when it began to run beside `frozen`
  double allowed;            // manual time: how far it may jump
};

// --- the clock --------------------------------------------------------------------------------

static double real_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool world_pending(const struct kf_loop *loop) {
  return loop->watches + loop->holds > 0;
}

double kf_loop_now(struct kf_loop *loop) {
  if (!loop->manual) return real_now();
  if (!world_pending(loop)) return loop->frozen;
  return loop->frozen + (real_now() - loop->real_start);
}

// To be called around each change of the watches: manual time runs only while there are some.
static double before_change(struct kf_loop *loop) {
  return loop->manual ? kf_loop_now(loop) : 0;
}

static void after_change(struct kf_loop *loop, double now) {
  if (!loop->manual) return;
  loop->frozen = now;
  loop->real_start = real_now();
}

void kf_loop_set_manual_time(struct kf_loop *loop, bool manual) {
  loop->frozen = ceil(kf_loop_now(loop));  // whole seconds, so that sums of durations are exact
  loop->real_start = real_now();
  loop->manual = manual;
  loop->allowed = loop->frozen;
}

void kf_loop_allow(struct kf_loop *loop, double until) {
  loop->allowed = until;
}

// --- timers: a binary heap by due time ----------------------------------------------------------

static void put(struct kf_loop *loop, size_t slot, struct kf_timer *timer) {
  loop->heap[slot] = timer;
  timer->slot = slot;
}

static bool before(const struct kf_timer *a, const struct kf_timer *b) {
  return a->due < b->due || (a->due == b->due && a->order < b->order);
}

static void sift_up(struct kf_loop *loop, size_t slot) {
  struct kf_timer *timer = loop->heap[slot];
  for (; slot > 1 && before(timer, loop->heap[slot / 2]); slot /= 2)
    put(loop, slot, loop->heap[slot / 2]);
  put(loop, slot, timer);
}

static void sift_down(struct kf_loop *loop, size_t slot) {
  struct kf_timer *timer = loop->heap[slot];
  for (;;) {
    size_t child = slot * 2;
    if (child > loop->timers) break;
    if (child < loop->timers && before(loop->heap[child + 1], loop->heap[child])) child++;
    if (!before(loop->heap[child], timer)) break;
    put(loop, slot, loop->heap[child]);
    slot = child;
  }
  put(loop, slot, timer);
}

bool kf_timer_start(struct kf_loop *loop, struct kf_timer *timer, double due) {
  kf_timer_stop(loop, timer);
  if (loop->timers + 2 > loop->capacity) {
    size_t capacity = loop->capacity ? loop->capacity * 2 : 16;
    struct kf_timer **heap = realloc(loop->heap, capacity * sizeof *heap);
    if (!heap) return false;
    loop->heap = heap;
    loop->capacity = capacity;
  }
  timer->due = due;
  timer->order = loop->started++;
  loop->awaited += timer->awaited;
  loop->timers++;
  put(loop, loop->timers, timer);
  sift_up(loop, loop->timers);
  return true;
}

void kf_timer_stop(struct kf_loop *loop, struct kf_timer *timer) {
  size_t slot = timer->slot;
  if (slot == 0) return;
  timer->slot = 0;
  loop->awaited -= timer->awaited;
  struct kf_timer *last = loop->heap[loop->timers--];
  if (last == timer) return;
  put(loop, slot, last);
  sift_up(loop, slot);
  sift_down(loop, last->slot);
}

size_t kf_loop_timers(const struct kf_loop *loop) {
  return loop->timers;
}

bool kf_loop_awaited(const struct kf_loop *loop) {
  return loop->awaited > 0;
}

// Times are sums of doubles: what differs by less than this is the same moment.
#define SAME_MOMENT 1e-6

static bool fire_due(struct kf_loop *loop) {
  bool fired = false;
  double now = kf_loop_now(loop);
  while (loop->timers > 0 && loop->heap[1]->due <= now + (loop->manual ? SAME_MOMENT : 0)) {
    struct kf_timer *timer = loop->heap[1];
    if (timer->due > now) loop->frozen += timer->due - now, now = timer->due;  // it is not early for itself
    kf_timer_stop(loop, timer);
    timer->fire(timer);
    fired = true;
  }
  return fired;
}

// --- watches ------------------------------------------------------------------------------------

static void on_event(evutil_socket_t fd, short what, void *data) {
  (void)fd;
  struct kf_watch *watch = data;
  watch->ready(watch, (what & EV_READ ? KF_READ : 0) | (what & EV_WRITE ? KF_WRITE : 0) |
                          (what & EV_SIGNAL ? KF_SIGNAL : 0));
}

bool kf_watch_start(struct kf_loop *loop, struct kf_watch *watch, int fd, int events) {
  kf_watch_stop(loop, watch);
  int what = EV_PERSIST | (events & KF_READ ? EV_READ : 0) | (events & KF_WRITE ? EV_WRITE : 0) |
             (events & KF_SIGNAL ? EV_SIGNAL : 0);
  struct event_base *base = kf_loop_base(loop);
  struct event *event = base ? event_new(base, fd, (short)what, on_event, watch) : NULL;
  if (!event || event_add(event, NULL) != 0) {
    if (event) event_free(event);
    return false;
  }
  double now = before_change(loop);
  watch->event = event;
  watch->next = loop->watched;
  watch->link = &loop->watched;
  if (watch->next) watch->next->link = &watch->next;
  loop->watched = watch;
  loop->watches += !watch->quiet;
  after_change(loop, now);
  return true;
}

void kf_watch_stop(struct kf_loop *loop, struct kf_watch *watch) {
  if (!watch->event) return;
  double now = before_change(loop);
  event_free(watch->event);
  watch->event = NULL;
  *watch->link = watch->next;
  if (watch->next) watch->next->link = watch->link;
  loop->watches -= !watch->quiet;
  after_change(loop, now);
}

size_t kf_loop_watches(const struct kf_loop *loop) {
  return loop->watches;
}

void kf_hold_start(struct kf_loop *loop, struct kf_hold *hold) {
  if (hold->link) return;
  double now = before_change(loop);
  hold->next = loop->held;
  hold->link = &loop->held;
  if (hold->next) hold->next->link = &hold->next;
  loop->held = hold;
  loop->holds++;
  after_change(loop, now);
}

void kf_hold_stop(struct kf_loop *loop, struct kf_hold *hold) {
  if (!hold->link) return;
  double now = before_change(loop);
  *hold->link = hold->next;
  if (hold->next) hold->next->link = hold->link;
  hold->link = NULL;
  loop->holds--;
  after_change(loop, now);
}

size_t kf_loop_holds(const struct kf_loop *loop) {
  return loop->holds;
}

// --- turns --------------------------------------------------------------------------------------

static void on_alarm(evutil_socket_t fd, short what, void *data) {
  (void)fd, (void)what, (void)data;
}

struct kf_loop *kf_loop_new(void) {
  return calloc(1, sizeof(struct kf_loop));
}

struct event_base *kf_loop_base(struct kf_loop *loop) {
  if (loop->base) return loop->base;
  struct event_config *config = event_config_new();
  if (!config) return NULL;
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_PRECISE_TIMER);
  struct event_base *base = event_base_new_with_config(config);
  event_config_free(config);
  struct event *alarm = base ? event_new(base, -1, 0, on_alarm, NULL) : NULL;
  if (base && !alarm) event_base_free(base);
  if (!alarm) return NULL;
  loop->alarm = alarm;
  return loop->base = base;
}

void kf_loop_forget(struct kf_loop *loop) {
  while (loop->timers > 0) kf_timer_stop(loop, loop->heap[1]);
  while (loop->watched) kf_watch_stop(loop, loop->watched);
  while (loop->held) kf_hold_stop(loop, loop->held);
}

void kf_loop_free(struct kf_loop *loop) {
  if (!loop) return;
  kf_loop_forget(loop);
  if (loop->alarm) event_free(loop->alarm);
  if (loop->base) event_base_free(loop->base);
  free(loop->heap);
  free(loop);
}

static void set_alarm(struct kf_loop *loop, double seconds) {
  struct timeval delay = {(time_t)seconds, (suseconds_t)(fmod(seconds, 1.0) * 1e6)};
  event_add(loop->alarm, &delay);
}

// Under manual time: jumps to the next timer that kf_loop_allow lets come.
static bool jump(struct kf_loop *loop) {
  if (!loop->manual || loop->timers == 0 || loop->heap[1]->due > loop->allowed + SAME_MOMENT)
    return false;
  double ahead = loop->heap[1]->due - kf_loop_now(loop);
  if (ahead > 0) loop->frozen += ahead;
  return fire_due(loop);
}

// Waits for the world, at most until the next timer is due.
static void wait_for_world(struct kf_loop *loop, bool timer_can_come) {
  if (timer_can_come) {
    double wait = loop->heap[1]->due - kf_loop_now(loop);
    // Rounded up to the next millisecond, so that a turn never ends just before its timer.
    set_alarm(loop, wait > 0 ? fmin(ceil(wait * 1e3) / 1e3, 86400) : 0);
  }
  event_base_loop(loop->base, EVLOOP_ONCE);
  event_del(loop->alarm);
}

bool kf_loop_once(struct kf_loop *loop, bool block) {
  if (fire_due(loop) || (block && jump(loop))) block = false;
  bool clock_runs = !loop->manual || world_pending(loop);
  bool timer_can_come = loop->timers > 0 && clock_runs;
  if (block && !timer_can_come && !world_pending(loop)) return false;
  if (block && !kf_loop_base(loop)) return false;
  if (block) wait_for_world(loop, timer_can_come);
  else if (loop->base) event_base_loop(loop->base, EVLOOP_NONBLOCK);
  fire_due(loop);
  return true;
}
