// The terminal of a child that people type into (an editor, a pager, a shell): its group is the terminal's
// foreground group while it runs, so that it may read keys and Ctrl-C is its own; afterwards ours is again.
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

int kf_proc_open_terminal(struct termios *modes) {
  int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return -1;
  bool ours = tcgetpgrp(fd) == getpgrp() && tcgetattr(fd, modes) == 0;
  if (ours) return fd;
  close(fd);
  return -1;
}

void kf_proc_give_terminal(int fd, pid_t group) {
  tcsetpgrp(fd, group);
}

// SIGTTOU is for those who write to a terminal that is not theirs, which is what this has to do.
void kf_proc_take_terminal(int fd, const struct termios *modes) {
  sigset_t background, before;
  sigemptyset(&background);
  sigaddset(&background, SIGTTOU);
  sigprocmask(SIG_BLOCK, &background, &before);
  tcsetpgrp(fd, getpgrp());
  tcsetattr(fd, TCSADRAIN, modes);
  sigprocmask(SIG_SETMASK, &before, NULL);
  close(fd);
}
