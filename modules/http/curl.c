#include "curl.h"

#include "error.h"

#include <dlfcn.h>

static struct kf_curl curl;
static void *library;

static int fail(lua_State *L) {
  const char *reason = dlerror();
  if (library) dlclose(library);
  library = NULL;
  return kf_fail(L, "Unsupported", "libcurl (package libcurl4) cannot be loaded: %s",
                 reason ? reason : "it is too old");
}

const struct kf_curl *kf_curl(lua_State *L) {
  if (library) return &curl;
  library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  if (!library) fail(L);
#define X(name)                                                    \
  *(void **)(void *)&curl.name = dlsym(library, "curl_" #name);    \
  if (!curl.name) fail(L);
  KF_CURL_FUNCTIONS(X)
#undef X
  curl.global_init(CURL_GLOBAL_ALL);
  return &curl;
}
