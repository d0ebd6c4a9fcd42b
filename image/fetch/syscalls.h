/*
 * syscalls: the system calls that fetching and unpacking need, and no others.
 *
 * A seccomp filter (libseccomp): any call that is not on the list, or has arguments that it should
 * not have, kills the process with SIGSYS; the kernel's audit log names the call (type=1326).
 * Calls that libraries only try, and can do without, are refused with an errno instead.
 */
#ifndef CRISP_IMAGE_FETCH_SYSCALLS_H
#define CRISP_IMAGE_FETCH_SYSCALLS_H

#include <stdbool.h>

#include "base/error.h"

/* From now on, for this thread and those it starts; needs no_new_privs. Without network there are
 * no sockets. */
int syscalls_limit(bool network, struct error *err);

#endif
