// A child process: its own group, killed when this program dies, waited for by a pidfd where the
// kernel has them (else by SIGCHLD), its pipes on the loop.
#ifndef KF_PROC_PROC_H
#define KF_PROC_PROC_H

#include "base/buffer.h"
#include "task.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <termios.h>

enum { STDIN, STDOUT, STDERR, STREAMS };

// How a stream of the child is connected.
enum connection { TO_PIPE, TO_INHERIT, TO_NULL, TO_FILE, TO_STDOUT };

enum { LIMITS = 6 };

// What to start: all strings live as long as the call.
struct command {
  const char *const *argv;         // ended by NULL
  const char *const *environment;  // "NAME=VALUE", ended by NULL
  const char *directory;           // NULL: ours
  enum connection connections[STREAMS];
  const char *files[STREAMS];      // TO_FILE: path; written from its start
  const char *input;               // what standard input holds, or NULL
  size_t input_length;
  struct limit {
    int resource;
    rlim_t value;
  } limits[LIMITS];
  size_t limit_count;
  int terminal;  // descriptor of the terminal that the child gets; -1: none
  bool kept;     // by a keeper, with which all that it starts ends
};

// [-0, +?, v] reads the options table at index; what is pushed keeps the command's strings alive.
void kf_proc_read_command(lua_State *L, int options, struct command *command);

// What kept it from starting: an errno (0: nothing did), the step, and the stream for STEP_STREAM.
struct failure {
  int number;
  enum { STEP_START, STEP_STREAM, STEP_LIMIT, STEP_DIRECTORY } step;
  int stream;
  pid_t pid;  // what a keeper has started, when nothing failed
};

// What has been started: the process, which leads its group, and the one that is ours to wait for,
// which is its keeper if it has one.
struct started {
  pid_t pid;
  pid_t awaited;
};

// Starts it and waits until exec has succeeded or failed: what has been started, and our end of each
// pipe in fds (else -1); or the failure, and then there is no child.
struct failure kf_proc_start(const struct command *command, struct started *started,
                             int fds[STREAMS]);

// In the keeper, which was forked for one child: false when its parent is gone already.
bool kf_proc_begin_keeping(pid_t parent);
// Waits for the child, ends whatever it has started and left behind, and ends as it did.
_Noreturn void kf_proc_keep(pid_t child);

// The terminal that this program has in the foreground, and its modes; -1 when there is none.
int kf_proc_open_terminal(struct termios *modes);
// In the child, with all signals blocked: its group is in the foreground from now on.
void kf_proc_give_terminal(int fd, pid_t group);
// The terminal is this program's again, with its modes of before; closes the descriptor.
void kf_proc_take_terminal(int fd, const struct termios *modes);

#endif
