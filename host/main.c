// The program: arguments, dispatch, exit codes.
//
// A first word that ends in .lua or contains / is a script, - or piped standard input is a script,
// else it is a command (cmd/NAME.lua on the search path). Exit codes: 0 done, 1 the work failed,
// 2 usage, 130 SIGINT, 143 SIGTERM.
#include "error.h"
#include "program.h"
#include "scripts.h"
#include "state.h"
#include "supervise.h"
#include "task.h"

#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, MAX_OPTIONS = 64 };

struct arguments {
  int count;           // words after the options
  char **words;
  const char *code;    // -e CODE
  bool interactive;    // -i, -c LINE
  int option_count;    // of those below
  struct {
    const char *name, *value;  // value: NULL for a flag
  } options[MAX_OPTIONS];  // for libraries, which read them by host.options()
};

static const char usage[] =
    "usage: kfhost [OPTIONS] SCRIPT.lua [ARG…] | COMMAND [ARG…] | -e CODE | -i | -c LINE\n"
    "options: --scripts DIR  --lab  --gc-stress; kfhost help lists the commands\n"
    "cluster: --kubeconfig FILE  --context NAME  --namespace NAME  --as USER  --as-group GROUP\n"
    "         --readonly  --dry-run  --approve  --exec-plugins allow|deny|NAME\n";

// Options of the connections that scripts make; those with a value may come several times.
static const struct {
  const char *option, *name;
  bool has_value;
} connection_options[] = {
    {"--kubeconfig", "kubeconfig", true},     {"--context", "context", true},
    {"--namespace", "namespace", true},       {"--as", "as", true},
    {"--as-group", "as_groups", true},        {"--exec-plugins", "exec_plugins", true},
    {"--readonly", "readonly", false},        {"--dry-run", "dry_run", false},
    {"--approve", "approve", false},
};

// --- what is to be run ------------------------------------------------------------------------

static bool is_script(const char *word) {
  size_t length = strlen(word);
  return strchr(word, '/') || strcmp(word, "-") == 0 ||
         (length > 4 && strcmp(word + length - 4, ".lua") == 0);
}

// [-0, +0, m] sets the global `arg` as Lua's own interpreter does: arg[0] is the script.
static void set_arg(lua_State *L, const struct arguments *arguments, int first) {
  lua_createtable(L, arguments->count, 1);
  for (int i = 0; i < arguments->count; i++) {
    lua_pushstring(L, arguments->words[i]);
    lua_rawseti(L, -2, i + 1 - first);
  }
  lua_setglobal(L, "arg");
}

// [-0, +0, m] puts the options of connections where host.options() finds them: a flag is true, a value
// a text, and several values of one option a list.
static void set_options(lua_State *L, const struct arguments *arguments) {
  lua_newtable(L);
  for (int i = 0; i < arguments->option_count; i++) {
    const char *name = arguments->options[i].name, *value = arguments->options[i].value;
    int known = lua_getfield(L, -1, name);
    if (value && known != LUA_TNIL) {
      if (known != LUA_TTABLE) {
        lua_createtable(L, 2, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
      }
      lua_pushstring(L, value);
      lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    } else {
      lua_pop(L, 1);
      if (value) lua_pushstring(L, value);
      else lua_pushboolean(L, 1);
    }
    lua_setfield(L, -2, name);
  }
  lua_setfield(L, LUA_REGISTRYINDEX, KF_OPTIONS);
}

// [-0, +1, m] pushes the names of the embedded commands.
static void push_command_names(lua_State *L) {
  lua_newtable(L);
  lua_Integer count = 0;
  for (size_t i = 0; i < kf_embedded_count; i++) {
    const char *name = kf_embedded[i].name;
    if (strncmp(name, "cmd/", 4) != 0 || strchr(name + 4, '/')) continue;
    lua_pushlstring(L, name + 4, strcspn(name + 4, "."));
    lua_rawseti(L, -2, ++count);
  }
}

// [-0, +0, v] raises the usage error of a word that is no command, with names that are near.
static void fail_unknown(lua_State *L, const char *word) {
  if (access(word, R_OK) == 0)
    kf_fail(L, "Usage", "no command '%s'; a script's name ends in .lua or has a /", word);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "cli.words");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "unknown");
  lua_pushliteral(L, "command");
  lua_pushstring(L, word);
  push_command_names(L);
  lua_call(L, 3, 1);
  lua_error(L);
}

// [-0, +1, v] pushes the command's chunk; an unknown one raises "Usage".
static void load_command(lua_State *L, const char *word) {
  const char *name = lua_pushfstring(L, "cmd/%s.lua", word);
  if (!kf_scripts_load(L, name)) fail_unknown(L, word);
  lua_remove(L, -2);
}

// [-0, +1, v] pushes the chunk of a script file, or of standard input for NULL.
static void load_script(lua_State *L, const char *path) {
  int status = luaL_loadfilex(L, path, "t");
  if (status == LUA_ERRFILE) kf_fail(L, "Usage", "%s", lua_tostring(L, -1));
  if (status != LUA_OK) lua_error(L);
}

// [-0, +1, v] pushes the chunk that the arguments name; *first is the first word for it.
static void load_work(lua_State *L, const struct arguments *arguments, int *first) {
  *first = 1;
  if (arguments->interactive || (!arguments->code && arguments->count == 0 && isatty(0))) {
    *first = 0;
    load_command(L, "repl");
  } else if (arguments->code) {
    *first = 0;
    if (luaL_loadbufferx(L, arguments->code, strlen(arguments->code), "=(command line)", "t"))
      lua_error(L);
  } else if (arguments->count == 0 || is_script(arguments->words[0])) {
    const char *name = arguments->count == 0 ? "-" : arguments->words[0];
    if (arguments->count == 0) *first = 0;
    load_script(L, strcmp(name, "-") ? name : NULL);
  } else {
    load_command(L, arguments->words[0]);
  }
  set_arg(L, arguments, *first);
}

// [arguments] -> what the work returned; runs protected.
static int prepare(lua_State *L) {
  const struct arguments *arguments = lua_touserdata(L, 1);
  int first;
  set_options(L, arguments);
  load_work(L, arguments, &first);
  luaL_checkstack(L, arguments->count + 1, "too many arguments");
  for (int i = first; i < arguments->count; i++) lua_pushstring(L, arguments->words[i]);
  return lua_gettop(L) - 1;
}

// --- the end ----------------------------------------------------------------------------------

static bool has_code(lua_State *L, const char *code) {
  if (!lua_istable(L, -1)) return false;
  lua_getfield(L, -1, "code");
  bool same = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), code) == 0;
  lua_pop(L, 1);
  return same;
}

// How much of a traceback is the script's own: the frames of the host at its end are not.
static int own_length(const char *text) {
  static const char *const host_frames[] = {"\n\t[C]: in ?", "\n\t[C]: in function <0x"};
  static const char title[] = "\nstack traceback:";
  int length = (int)strlen(text);
  for (size_t i = 0; i < sizeof host_frames / sizeof *host_frames; i++) {
    const char *frame = strstr(text, host_frames[i]);
    if (frame && frame - text < length) length = (int)(frame - text);
  }
  int rest = length - (int)strlen(title);  // a title with nothing under it says nothing
  return rest > 0 && strncmp(text + rest, title, strlen(title)) == 0 ? rest : length;
}

static void print_own(const char *text) {
  fprintf(stderr, "%.*s\n", own_length(text), text);
}

// Prints the error on top of the stack, with the script's part of its traceback.
static void report(lua_State *L, bool with_traceback) {
  lua_pushvalue(L, -1);
  kf_error_text(L);
  fputs("kfhost: ", stderr);
  print_own(lua_tostring(L, -1));
  if (!with_traceback || !lua_istable(L, -2)) return;
  lua_pushliteral(L, "traceback");
  if (lua_rawget(L, -3) == LUA_TSTRING) print_own(lua_tostring(L, -1));
}

static int exit_code(lua_State *L, int status) {
  int signal = kf_interrupted();
  if (status != LUA_OK) {
    bool usage_error = has_code(L, "Usage");
    if (!signal || !has_code(L, "Cancelled")) report(L, !usage_error);
    if (signal) return 128 + signal;
    return usage_error ? EXIT_USAGE : EXIT_FAILURE;
  }
  if (signal) return 128 + signal;
  if (lua_isinteger(L, -1)) return (int)lua_tointeger(L, -1) & 0xff;
  return lua_isboolean(L, -1) && !lua_toboolean(L, -1) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(lua_State *L, const struct arguments *arguments) {
  lua_pushcfunction(L, prepare);
  lua_pushlightuserdata(L, (void *)(size_t)arguments);
  int status = kf_call(L, 1, LUA_MULTRET);
  if (status == LUA_OK) status = kf_run_main(L, lua_gettop(L) - 1);
  return exit_code(L, status);
}

// --- options ------------------------------------------------------------------------------------

// The next word as the value of an option; NULL when there is none.
static const char *value_of(struct arguments *arguments) {
  if (arguments->count < 2) return NULL;
  arguments->words++, arguments->count--;
  return arguments->words[0];
}

// Takes an option of connections. The word of its value, or of the option; NULL when the value is missing.
static const char *take_connection_option(struct arguments *arguments, size_t index) {
  const char *value = connection_options[index].has_value ? value_of(arguments) : NULL;
  if (connection_options[index].has_value && !value) return NULL;
  if (arguments->option_count < MAX_OPTIONS) {
    arguments->options[arguments->option_count].name = connection_options[index].name;
    arguments->options[arguments->option_count++].value = value;
  }
  return arguments->words[0];
}

// The word after -c is a line for the REPL.
static int take_line(struct arguments *arguments) {
  arguments->interactive = true;
  return 0;
}

// The place of an option of connections, or their number.
static size_t find_connection_option(const char *option) {
  size_t count = sizeof connection_options / sizeof *connection_options, index = 0;
  while (index < count && strcmp(option, connection_options[index].option) != 0) index++;
  return index;
}

// Whether the word is an option that says what runs (code, a line, the prompt) instead of a script.
static bool says_what_runs(const char *word) {
  return strcmp(word, "-e") == 0 || strcmp(word, "-i") == 0 || strcmp(word, "-c") == 0;
}

// --lab: the rest of the line is run by `kfhost lab run`. The words have one place for each of ours.
static void run_in_lab(struct arguments *arguments) {
  static char *words[4096] = {(char *)"lab", (char *)"run"};
  int count = 2;
  if (arguments->count > 1 && says_what_runs(arguments->words[1])) words[count++] = (char *)"--";
  for (int i = 1; i < arguments->count && count < 4095; i++) words[count++] = arguments->words[i];
  arguments->words = words;
  arguments->count = count;
}

// Takes the options before the first word. 0, or the exit code of a usage error.
static int parse(struct arguments *arguments, struct host *host) {
  while (arguments->count > 0 && arguments->words[0][0] == '-' && arguments->words[0][1]) {
    const char *option = arguments->words[0], *value = option;
    if (strcmp(option, "--") == 0) {
      arguments->words++, arguments->count--;
      return 0;
    }
    if (strcmp(option, "--gc-stress") == 0) host->gc_stress = true;
    else if (strcmp(option, "--supervise") == 0) {
      value = value_of(arguments);
      if (value) kf_supervise(value);  // goes on here in each process that it starts
    }
    else if (strcmp(option, "-i") == 0) arguments->interactive = true;
    else if (strcmp(option, "-c") == 0 && value_of(arguments)) return take_line(arguments);
    else if (strcmp(option, "-c") == 0) value = NULL;
    else if (strcmp(option, "-e") == 0) value = arguments->code = value_of(arguments);
    else if (strcmp(option, "--scripts") == 0) {
      value = value_of(arguments);
      if (value) kf_scripts_prepend(value);
    } else if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0) {
      arguments->words[0] = (char *)"help";
      return 0;
    } else if (strcmp(option, "--lab") == 0) {
      run_in_lab(arguments);
      return 0;
    } else if (strcmp(option, "--version") == 0) {
      arguments->words[0] = (char *)"version";
      return 0;
    } else if (find_connection_option(option) < sizeof connection_options / sizeof *connection_options) {
      value = take_connection_option(arguments, find_connection_option(option));
    } else {
      fprintf(stderr, "kfhost: unknown option '%s'\n%s", option, usage);
      return EXIT_USAGE;
    }
    if (!value) {
      fprintf(stderr, "kfhost: option '%s' needs a value\n%s", option, usage);
      return EXIT_USAGE;
    }
    arguments->words++, arguments->count--;
  }
  return 0;
}

static void handle_signals(void) {
  struct sigaction action = {.sa_handler = kf_interrupt};  // a blocked read is interrupted too
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
}

// What the dynamic linker alone has read: its pages can go, and come back when they are used. Of the
// libraries these are most of what a start holds, and TLS is not needed by most commands.
static int drop_pages(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size, (void)data;
  if (!strstr(info->dlpi_name, "libcrypto") && !strstr(info->dlpi_name, "libssl")) return 0;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || (part->p_flags & PF_W)) continue;  // written ones would be lost
    size_t start = (info->dlpi_addr + part->p_vaddr + page - 1) & ~(page - 1);
    size_t end = (info->dlpi_addr + part->p_vaddr + part->p_memsz) & ~(page - 1);
    if (end > start) madvise((void *)start, end - start, MADV_DONTNEED);
  }
  return 0;
}

int main(int argc, char **argv) {
  kf_program_set(argv);
  dl_iterate_phdr(drop_pages, NULL);
  struct host host = {0};
  struct arguments arguments = {.count = argc - 1, .words = argv + 1};
  int code = parse(&arguments, &host);
  if (code) return code;
  handle_signals();
  lua_State *L = kf_state_new(&host);
  if (!L) {
    fprintf(stderr, "kfhost: not enough memory to start\n");
    return EXIT_FAILURE;
  }
  code = run(L, &arguments);
  kf_state_end(L);
  return code;
}
