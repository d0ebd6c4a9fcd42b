/*
 * seccomp_profile: the system calls that a container may make.
 *
 * Profiles come in the form that Docker and containers-common write: rules that hold for some
 * architectures, kernels or capabilities only. OCI runtimes know no such conditions, so a profile
 * is translated for each container into what its specification's linux.seccomp says.
 *
 * Pure functions, any thread, unless said. What is given back belongs to the caller.
 */
#ifndef CRISP_OCI_SECCOMP_PROFILE_H
#define CRISP_OCI_SECCOMP_PROFILE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/json.h"

#define SECCOMP_PROFILE_MAX (1024 * 1024) /* bytes of a profile */
#define SECCOMP_RULES_MAX   4096          /* of a profile */
#define SECCOMP_NAMES_MAX   4096          /* of system calls, in one rule */
#define SECCOMP_ARGS_MAX    64            /* conditions of one rule */

/*
 * Parses a profile's bytes. place names it in errors ("/etc/x.json"). INVALID_ARGUMENT for what is
 * no profile: it has a defaultAction, and each member that we know has the form that it must have.
 * Members that nobody knows are passed over, as the other implementations do.
 */
int seccomp_profile_parse(const char *bytes, size_t length, const char *place, json_t **profile,
                          struct error *err);

/*
 * The same from a file, by its path or by a descriptor of it (borrowed; opened with O_NONBLOCK).
 * What is no plain file is FAILED_PRECONDITION. Blocks on the disk.
 */
int seccomp_profile_load(const char *path, json_t **profile, struct error *err);
int seccomp_profile_load_fd(int fd, const char *place, json_t **profile, struct error *err);

/* Our own profile: what most programs need, and nothing that reaches past the container unless its
 * capabilities let it do so anyway. */
json_t *seccomp_profile_default(void);

/*
 * Changes a profile so that new namespaces need CAP_SYS_ADMIN: clone with their flags and unshare
 * are EPERM, clone3, whose flags no filter can see, is ENOSYS, on which libcs go back to clone.
 */
void seccomp_profile_guard(json_t *profile);

/* Changes a profile so that its rules that fail a call or kill for it ask who listens on this
 * socket. What the default action does cannot be asked for. */
void seccomp_profile_notify(json_t *profile, const char *listener);

/*
 * The profile for a container with these capabilities in its bounding set (names as "CAP_CHOWN",
 * null-terminated; null is none), on this machine's architecture and kernel: linux.seccomp.
 */
int seccomp_profile_translate(const json_t *profile, const char *const *capabilities,
                              const char *place, json_t **seccomp, struct error *err);

/* Whether this kernel has seccomp filters. */
bool seccomp_profile_is_supported(void);

#endif
