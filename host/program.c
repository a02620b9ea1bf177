// /proc/self/exe is this program, unless the bundle's launcher started it by a dynamic linker of its own
// (packaging/launcher.c): then that is the linker, and argv[0] is the launcher's path.
#include "program.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static char *no_words[] = {NULL};
static char **own_words = no_words;
static char path[PATH_MAX];
static enum { UNKNOWN, ITSELF, BY_LINKER } started;

void kf_program_set(char **words) {
  own_words = words;
}

char *const *kf_program_words(void) {
  return own_words;
}

static void find(void) {
  if (started != UNKNOWN) return;
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  path[length < 0 ? 0 : length] = '\0';
  const char *name = strrchr(path, '/');
  bool is_program = name && strncmp(name, "/ld-", 4) != 0;
  started = is_program ? ITSELF : BY_LINKER;
  if (is_program) return;
  path[0] = '\0';
  const char *own = own_words[0] ? own_words[0] : "";
  if (strlen(own) < sizeof path && strchr(own, '/')) memcpy(path, own, strlen(own) + 1);
}

const char *kf_program_path(void) {
  find();
  return *path ? path : NULL;
}

int kf_program_open(void) {
  find();
  return started == ITSELF ? open("/proc/self/exe", O_RDONLY | O_CLOEXEC) : -1;
}
