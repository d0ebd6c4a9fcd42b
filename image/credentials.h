/*
 * credentials: whose name and password a pull shows to which host.
 *
 * For each host and repository the first that has something is used:
 *
 *   1. what the request brought, and that only for the registry that it is for;
 *   2. the auth file that was written for this pull's namespace and image, which is used once and
 *      stands in place of the files below;
 *   3. the node's auth files, in their order, with the helpers that they name;
 *   4. the credential helpers of registries.conf, or in whatever order it puts these.
 *
 * A source that fails (a broken file, a helper that hangs) is told in the log and passed over: a
 * pull that needs no credentials goes on, and one that is refused says why it had none.
 *
 * Secrets live in struct credentials alone and are overwritten with it. Loop's thread; what waits
 * is for tasks.
 */
#ifndef CRISP_IMAGE_CREDENTIALS_H
#define CRISP_IMAGE_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "image/reference.h"
#include "image/request.h"

#define CREDENTIALS_AUTH_FILE_MEMBER                                                               \
        "containers-auth.json" /* the auth files, in a list of helpers */
#define CREDENTIALS_HELPER_TIMEOUT (30 * NSEC_PER_SEC)
#define CREDENTIALS_FILES_MAX      32

/* The node's; borrowed while struct credentials are made and asked. */
struct credentials_options {
        char *const *auth_files; /* absolute paths, null-terminated; those that are missing are
                                    passed over. Null: none */
        const char *namespaced_auth_dir; /* null or empty: none */
        int64_t helper_timeout;          /* ns for one helper; 0: the default */
};

struct credentials_request {
        const struct fetch_credentials *given; /* the CRI request's, copied; null: none */
        /*
         * Of the image's name as everybody completes it: "busybox" is docker.io's library/busybox.
         * given is for this registry where server_address says nothing, also where a short name
         * leads elsewhere: whoever chose the credentials knew of no other.
         */
        const char *registry;
        const char *repository;
        const char *namespace_; /* the pod's; null or empty: unknown */
        char *const *helpers;   /* credential-helpers of registries.conf, borrowed; null or empty:
                                   the auth files alone */
};

struct credentials;

/*
 * Reads the files. Waits for the disk; a namespaced file is taken: whoever comes next finds none.
 * Does not fail.
 */
struct credentials *credentials_new(const struct credentials_options *options,
                                    const struct credentials_request *request);
void credentials_free(struct credentials *credentials); /* overwrites; null is allowed */

/*
 * Whether two pulls of the same image show the same everywhere: they were asked for with the same
 * credentials, and the files that they found say the same. What a helper says is the node's, not
 * the asker's.
 */
bool credentials_same(const struct credentials *a, const struct credentials *b);

/*
 * What to show to host[:port], or the host of a URL, when it is asked for repository. *found is
 * borrowed from credentials; all null: nothing. Waits for helpers, interruptibly; CANCELLED is its
 * only error.
 */
int credentials_find(struct credentials *credentials, const char *host, const char *repository,
                     struct fetch_credentials *found, struct error *err);

/* The same for each endpoint of a reference, by the endpoint's own host and name for it. What is
 * put into the endpoints is borrowed. */
int credentials_give(struct credentials *credentials, const struct reference *reference,
                     struct fetch_endpoint *endpoints, size_t count, struct error *err);

/* What went wrong with sources so far, for the error of a pull that was refused; empty: nothing.
 * Borrowed. */
const char *credentials_problem(const struct credentials *credentials);
/* Puts it behind the message of a filled err: a registry that refused may have wanted what could
 * not be looked up. */
void credentials_add_problem(const struct credentials *credentials, struct error *err);

static inline void cleanup_credentials(struct credentials **credentials)
{
        credentials_free(*credentials);
}
#define AUTO_CREDENTIALS CLEANUP(cleanup_credentials)

#endif
