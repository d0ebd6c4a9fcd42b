/*
 * authfile: a password out of the file where people keep those of their registries.
 *
 * The formats of containers-auth.json(5) and docker's config.json: "auths", by registry or, in the
 * former, by any leading part of an image's name; the longest wins. Blocks on the disk.
 */
#ifndef CRISP_CLI_AUTHFILE_H
#define CRISP_CLI_AUTHFILE_H

#include "base/error.h"

#define AUTHFILE_MAX (1u << 20) /* bytes */

/* Strings on the heap, or null; the caller wipes and frees them. */
struct authfile_entry {
        char *auth; /* base64 of user:password, as it stands there */
        char *identity_token;
        char *registry_token;
};

/*
 * The entry for an image's name; a name without a registry is docker.io's. No entry is success with
 * nothing in *entry. FAILED_PRECONDITION where the file leaves it to a credential helper.
 */
int authfile_find(const char *path, const char *reference, struct authfile_entry *entry,
                  struct error *err);

/* The part of an image's name that such files go by: "REGISTRY/REPOSITORY" without tag and digest,
 * on the heap. */
char *authfile_scope(const char *reference);

#endif
