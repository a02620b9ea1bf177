// libcurl, loaded when it is first used: its 37 libraries would cost every start of the program
// more than all else together.
#ifndef KF_HTTP_CURL_H
#define KF_HTTP_CURL_H

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <lua.h>

// What is used of it; the field `easy_init` is curl_easy_init, and so on.
#define KF_CURL_FUNCTIONS(X)                                                                      \
  X(global_init) X(easy_init) X(easy_cleanup) X(easy_reset) X(easy_setopt) X(easy_getinfo)        \
  X(easy_strerror) X(easy_pause) X(easy_send) X(easy_recv) X(multi_init) X(multi_cleanup)         \
  X(multi_setopt) X(multi_add_handle) X(multi_remove_handle) X(multi_socket_action)               \
  X(multi_info_read) X(multi_timeout) X(slist_append) X(slist_free_all) X(url) X(url_cleanup)     \
  X(url_set) X(url_get) X(free)

struct kf_curl {
#define X(name) __typeof__(curl_##name) *(name);
  KF_CURL_FUNCTIONS(X)
#undef X
};

// The macros of curl.h stand in the way of fields of these names.
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

// [-0, +0, v] loads it; raises "Unsupported" when it cannot be loaded.
const struct kf_curl *kf_curl(lua_State *L);

#endif
