// Lua's patterns on a matcher of our own, for sandboxes: the whole language (classes, sets, * + - ?,
// captures, position captures, %b, %f, back references, anchors), but each step is counted, the
// deadline is looked at, and no text with a zero or of a great length takes more than its time.
#ifndef KF_MATCH_H
#define KF_MATCH_H

#include <lua.h>

// [-0, +0, m] sets find, match, gmatch and gsub in the table on top of the stack. For states of
// sandbox.h only.
void kf_match_install(lua_State *L);

#endif
