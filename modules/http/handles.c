// The handles of a session: given out, taken back, and kept for the next transfer.
#include "http.h"

#include <lauxlib.h>

struct session *kf_check_session(lua_State *L, int index) {
  return luaL_checkudata(L, index, KF_TYPE_SESSION);
}

CURL *kf_session_handle(struct session *session) {
  if (session->spare_count > 0) return session->spare[--session->spare_count];
  return session->curl->easy_init();
}

void kf_session_return(struct session *session, CURL *easy) {
  if (!session->multi || session->spare_count == KF_SPARE_HANDLES) {
    session->curl->easy_cleanup(easy);
    return;
  }
  session->curl->easy_reset(easy);
  session->spare[session->spare_count++] = easy;
}
