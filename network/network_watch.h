/*
 * network_watch: tells when a folder changes, also one that does not exist yet.
 *
 * While the folder is missing its nearest parent that exists is watched. Where the kernel gives no
 * more inotify watches, and for what inotify cannot see (a parent renamed, a network file system),
 * the folder is looked at every few seconds. Loop's thread; its system calls are few and short.
 */
#ifndef CRISP_NETWORK_NETWORK_WATCH_H
#define CRISP_NETWORK_NETWORK_WATCH_H

#include "base/error.h"

struct network_watch;

/* changed(argument) is called on the loop's thread, outside tasks, once for what happened within a
 * tenth of a second. */
struct network_watch *network_watch_new(const char *directory, void (*changed)(void *argument),
                                        void *argument, struct error *err);
void network_watch_free(struct network_watch *watch); /* null is allowed */

#endif
