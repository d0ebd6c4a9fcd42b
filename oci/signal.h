/*
 * signal: signals by the names that images and people write.
 *
 * Pure functions: any thread, never block.
 */
#ifndef CRISP_OCI_SIGNAL_H
#define CRISP_OCI_SIGNAL_H

#include "base/error.h"

#define SIGNAL_NAME_MAX 16 /* bytes with the final zero: "SIGRTMIN+15" and shorter */

/*
 * "SIGTERM", "TERM", "15", "SIGRTMIN+3", "RTMAX-2" (in any case) to the kernel's number in *number.
 * Real-time signals count from 34 as glibc and every container runtime do. INVALID_ARGUMENT for
 * what is none, and for 0.
 */
int signal_parse(const char *text, int *number, struct error *err);

/* The name with SIG ("SIGTERM", "SIGRTMIN+3"); the number in digits for one that has no name. */
void signal_name(int number, char out[SIGNAL_NAME_MAX]);

#endif
