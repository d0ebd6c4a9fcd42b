/*
 * confine: what the process gives up before it meets strangers' bytes.
 *
 * One order for every kind of request:
 *
 *   1. confine_start
 *   2. the request is read, and all that it names on this machine is loaded: certificates, keys,
 *      policies (load.h). Programs that must run beside are started, connected by descriptors.
 *   3. confine_close: the box closes. No file of the machine's can be reached any more but the
 *      request's folders and what resolving names and TLS need; no program can be started.
 *   4. threads are started, and the first byte from a stranger is read.
 *
 * Between 1 and 3 nothing may be parsed that a stranger wrote, and no thread may be started.
 * Descriptors from before 3 stay open: files, pipes and sockets work as before. A folder must not
 * be one of them, since ".." leads from it to all that is above: it is to be one of the box's
 * folders.
 *
 * The walls: namespaces (PID by who starts the process; mount, IPC, UTS, cgroup here), a root of
 * its own (root.h), capabilities and securebits, no_new_privs, Landlock, and a list of allowed
 * system calls (syscalls.h). What the kernel refuses of namespaces and root (in a container that
 * has not the privilege) is logged, and the other walls stand without it. Built with a sanitizer,
 * which needs /proc and calls of its own, there is neither root nor list.
 */
#ifndef CRISP_IMAGE_FETCH_CONFINE_H
#define CRISP_IMAGE_FETCH_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define CONFINE_FOLDERS_MAX 20

/* Where the folders of a request are in the box. */
#define CONFINE_STAGING "/staging"
#define CONFINE_STORE   "/store"

struct confine_folder {
        const char *path;  /* absolute; confine_close sets it to where the folder is from then on */
        const char *place; /* a name in the box's root: CONFINE_STAGING, ... */
        bool writable;
};

struct confine_box {
        struct confine_folder folders[CONFINE_FOLDERS_MAX]; /* at least one */
        size_t folder_count;
        bool network; /* it speaks to registries: without, there are no sockets at all */
};

/*
 * Step 1, once: closes descriptors from first_foreign_fd on (3, or 4 for who is given one), clears
 * the umask (modes are the archive's) and turns core dumps off (they would have credentials in
 * them).
 */
int confine_start(int first_foreign_fd, struct error *err);

/*
 * Step 3, once. Afterwards the process has the capabilities that unpacking needs and no way to get
 * others, can write below the writable folders alone, and is killed with SIGSYS for a system call
 * that is not on its list. The current folder is the first folder. FAILED_PRECONDITION or what the
 * kernel said where a wall that is always there could not be built. Blocks.
 */
int confine_close(struct confine_box *box, struct error *err);

#endif
