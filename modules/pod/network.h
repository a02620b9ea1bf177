// The network of a pod: its address, and its connections to other pods and services caught.
#ifndef KF_POD_NETWORK_H
#define KF_POD_NETWORK_H

#include <lua.h>

// [address port -- , e] pod.network(address, port): in a network namespace of its own, lo gets the
// address, all of 10.0.0.0/8 can be reached through lo, and each TCP connection to it (but to the
// address itself) arrives at 127.0.0.1:port, where SO_ORIGINAL_DST tells what was meant.
int kf_pod_network(lua_State *L);

#endif
