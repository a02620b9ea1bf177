// Signals as something to wait for, instead of the end of the program.
#ifndef KF_POD_SIGNALS_H
#define KF_POD_SIGNALS_H

#include <lua.h>

// [-0, +1, m] pod.signals(): from now on SIGTERM and SIGINT do not end the program but are given
// by wait, until the object is closed.
int kf_pod_signals(lua_State *L);

#endif
