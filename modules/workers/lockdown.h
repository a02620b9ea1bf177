// What a process that runs other people's code may still do.
#ifndef KF_WORKERS_LOCKDOWN_H
#define KF_WORKERS_LOCKDOWN_H

#include <stddef.h>

// Takes away for ever: opening files and connections, starting programs and threads, new
// privileges, memory that can be executed; a call to the kernel that is not needed for serving on
// sockets that are there fails with EPERM. NULL, or what did not work.
const char *kf_lock_down(size_t files, size_t memory);

#endif
