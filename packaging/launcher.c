// bin/kfhost of the bundle: starts lib/kfhost/kfhost beside it by the dynamic linker that lies there too, so
// that nothing of the machine's own libraries is needed. Linked statically.
#include <elf.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define LINKER "ld-linux-x86-64.so.2"

static char self[PATH_MAX], folder[PATH_MAX], linker[PATH_MAX + 64], program[PATH_MAX + 64];

// "/x/bin/kfhost" -> "/x/lib/kfhost"; false when the path has no such end.
static int find_folder(void) {
  const char *name = (const char *)getauxval(AT_EXECFN);
  if (!name || !realpath(name, self)) return 0;
  strcpy(folder, self);
  for (int level = 0; level < 2; level++) {
    char *slash = strrchr(folder, '/');
    if (!slash) return 0;
    *slash = '\0';
  }
  if (strlen(folder) + sizeof "/lib/kfhost" > sizeof folder) return 0;
  strcat(folder, "/lib/kfhost");
  return 1;
}

int main(int argc, char **argv) {
  if (!find_folder()) {
    fprintf(stderr, "kfhost: cannot find where this bundle lies\n");
    return 1;
  }
  snprintf(linker, sizeof linker, "%s/" LINKER, folder);
  snprintf(program, sizeof program, "%s/kfhost", folder);
  char **words = calloc((size_t)argc + 6, sizeof *words);
  if (!words) return 1;
  char *before[] = {linker, "--library-path", folder, "--argv0", self, program};
  memcpy(words, before, sizeof before);
  for (int i = 1; i < argc; i++) words[i + 5] = argv[i];
  execv(linker, words);
  perror(linker);
  return 1;
}
