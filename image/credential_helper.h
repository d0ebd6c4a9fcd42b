/*
 * credential_helper: docker-credential-NAME, a program that knows passwords.
 *
 * It is run with the argument "get" and the registry on its stdin, and answers with JSON: Username
 * and Secret, where the user name "<token>" makes the secret an identity token.
 */
#ifndef CRISP_IMAGE_CREDENTIAL_HELPER_H
#define CRISP_IMAGE_CREDENTIAL_HELPER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/request.h"

#define CREDENTIAL_HELPER_PREFIX     "docker-credential-"
#define CREDENTIAL_HELPER_NAME_MAX   100          /* bytes of what follows the prefix */
#define CREDENTIAL_HELPER_OUTPUT_MAX (128u << 10) /* bytes of its answer */
#define CREDENTIAL_HELPER_ERRORS_MAX 4096         /* bytes kept of its stderr */

/*
 * Asks the helper for server ("registry.example" or as the helper knows it). It is looked for in
 * the daemon's PATH, gets an environment of a few variables (PATH, HOME, proxies, certificates and
 * those of the clouds whose helpers need them), and is killed with its group at the deadline
 * (monotonic ns). Task only; waits, interruptibly.
 *
 * 0 with *found on the heap (secret_wipe); all null where the helper knows no credentials for it.
 * NOT_FOUND where there is no such program, DEADLINE_EXCEEDED, CANCELLED; UNAVAILABLE for what it
 * says or how it ends. Errors name the program, never its answer.
 */
int credential_helper_get(const char *name, const char *server, int64_t deadline,
                          struct fetch_credentials *found, struct error *err);

/* What the program wrote to its stdout when it succeeded. Pure; any thread. */
int credential_helper_read(const char *bytes, size_t length, struct fetch_credentials *found,
                           struct error *err);

#endif
