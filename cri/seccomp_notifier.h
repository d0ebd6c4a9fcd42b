/*
 * seccomp_notifier: tells which system calls of a container its seccomp profile keeps back, and
 * stops it for them where its pod asks for that.
 *
 * The profile's rules that would fail a call or kill its process ask us instead. The OCI runtime
 * brings the descriptor on which the kernel asks to a socket of ours, once for the container and
 * once for each exec. Every such call then fails with ENOSYS; the first of each name is logged,
 * all are counted. With the action "stop" the container is killed when five seconds have passed
 * since the last one, with reason "seccomp killed" and their names as the message.
 *
 * Where nobody listens, as while the daemon is gone, the kernel itself answers ENOSYS; what was
 * started before is then not traced any more, what is started later is.
 *
 * Loop's thread only; nothing here waits.
 */
#ifndef CRISP_CRI_SECCOMP_NOTIFIER_H
#define CRISP_CRI_SECCOMP_NOTIFIER_H

#include "base/buffer.h"
#include "base/error.h"

#define SECCOMP_NOTIFIER_REASON "seccomp killed"

struct container;

/* Whether the container's pod asks for it and may. */
bool seccomp_notifier_is_wanted(const struct container *container);

/* Path of the container's socket, which the profile names; on the heap. Any thread. */
char *seccomp_notifier_path(const struct container *container);

/* Listens from now on; already listening is fine. */
int seccomp_notifier_open(struct container *container, struct error *err);
/* Ends that. Not listening is fine. */
void seccomp_notifier_close(struct container *container);

/* Calls kept back since the daemon's start, by name, as metrics. */
void seccomp_notifier_write_metrics(struct buffer *text);

#endif
