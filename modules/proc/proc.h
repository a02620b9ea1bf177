// A child process: its own group, killed when this program dies, waited for by a pidfd where the
// kernel has them (else by SIGCHLD's effect on a short timer), its pipes on the loop.
#ifndef KF_PROC_PROC_H
#define KF_PROC_PROC_H

#include "base/buffer.h"
#include "task.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

enum { STDIN, STDOUT, STDERR, STREAMS };

// How a stream of the child is connected.
enum connection { TO_PIPE, TO_INHERIT, TO_NULL, TO_FILE, TO_STDOUT };

// What to start: all strings live as long as the call.
struct command {
  const char *const *argv;         // ended by NULL
  const char *const *environment;  // "NAME=VALUE", ended by NULL
  const char *directory;           // NULL: ours
  enum connection connections[STREAMS];
  const char *files[STREAMS];      // TO_FILE: path; written from its start
  const struct limit {
    int resource;
    rlim_t value;
  } *limits;
  size_t limit_count;
};

// Starts it. 0 and *pid, with our end of each pipe in fds (else -1); or the errno, with what
// failed in *action ("start", "enter directory", "open").
int kf_proc_start(const struct command *command, pid_t *pid, int fds[STREAMS], const char **action);

#endif
