/*
 * apparmor: AppArmor profiles of the kernel.
 *
 * root is put before each path ("" is the machine itself). What reads files reads the kernel's own,
 * and does not wait for a disk.
 */
#ifndef CRISP_OCI_APPARMOR_H
#define CRISP_OCI_APPARMOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define APPARMOR_NAME_MAX     256                /* bytes of a profile's name */
#define APPARMOR_PROFILES_MAX (16 * 1024 * 1024) /* bytes of the kernel's list of profiles */

/* Whether this kernel uses AppArmor. Any thread. */
bool apparmor_is_enabled(const char *root);

/* 1 where a profile of this name is loaded, 0 where not, or why that cannot be told. Any thread. */
int apparmor_is_loaded(const char *root, const char *name, struct error *err);

/* Our profile of a container under this name, as apparmor_parser reads it; on the heap. Any thread.
 */
char *apparmor_profile(const char *name);

/*
 * Loads our profile under this name with apparmor_parser, over one of that name. Task only: runs
 * the program until the deadline. FAILED_PRECONDITION where the program is not there; else in its
 * words.
 */
int apparmor_load(const char *root, const char *name, int64_t deadline, struct error *err);

#endif
