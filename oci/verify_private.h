/*
 * verify_private: what the files of oci/verify*.c share. For nobody else.
 */
#ifndef CRISP_OCI_VERIFY_PRIVATE_H
#define CRISP_OCI_VERIFY_PRIVATE_H

#include "oci/verify.h"

struct verify {
        const json_t *spec, *facts;
        const char *layers;
        enum cgroup_mode mode;
        verify_tell *tell;
        void *argument;
};

void verify_say(const struct verify *verify, enum verify_verdict verdict, const char *what,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Member of a member of ... of object, by names ended by null; null where one is missing. */
const json_t *verify_at(const json_t *object, ...) __attribute__((sentinel));

/* What the kernel has in a file of the container's cgroup, all its lines; null where there is none.
 */
const char *verify_limit_text(const struct verify *verify, const char *file);

/* The limits of its cgroup (verify_limits.c); those of block I/O (verify_io.c), and its devices
 * (verify_devices.c); root and mounts (verify_mounts.c). */
void verify_limits(const struct verify *verify);
void verify_io(const struct verify *verify);
void verify_devices(const struct verify *verify);
void verify_mounts(const struct verify *verify);

#endif
