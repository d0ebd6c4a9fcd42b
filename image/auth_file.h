/*
 * auth_file: what is in an auth.json or Docker's config.json.
 *
 * containers-auth.json(5) and Docker's own format are the same JSON: "auths" with credentials by
 * registry or by registry and path, "credHelpers" with a helper program by registry, "credsStore"
 * with one for all. Both the old forms of keys ("https://index.docker.io/v1/") and Docker Hub's
 * several names are known.
 *
 * Everything but auth_file_read is pure; any thread.
 */
#ifndef CRISP_IMAGE_AUTH_FILE_H
#define CRISP_IMAGE_AUTH_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/request.h"

#define AUTH_FILE_MAX         (1u << 20)  /* bytes */
#define AUTH_FILE_ENTRIES_MAX 4096        /* of auths, and of credHelpers */
#define AUTH_FILE_TEXT_MAX    (64u << 10) /* bytes of one string in it */

struct auth_file;

/*
 * Reads the file; blocks on the disk. Errors name the file and the place in it, never what stands
 * there. NOT_FOUND (-ENOENT) where there is none; what is no regular file or longer than
 * AUTH_FILE_MAX is refused.
 */
int auth_file_read(const char *path, struct auth_file **file, struct error *err);

/* name is for errors. bytes stay the caller's, who wipes them. */
int auth_file_parse(const char *bytes, size_t length, const char *name, struct auth_file **file,
                    struct error *err);

/* Overwrites what is secret. Null is allowed. */
void auth_file_free(struct auth_file *file);

/* Whether both were made of the same bytes. */
bool auth_file_same(const struct auth_file *a, const struct auth_file *b);

struct auth_file_answer {
        struct fetch_credentials credentials; /* borrowed from the file; empty where it has none */
        const char *helper; /* to be asked instead: "NAME" of docker-credential-NAME; or null */
        const char *server; /* what it is to be asked for */
};

/*
 * What the file has for repository on host ("registry.example:5000"): the helper that credHelpers
 * names for the host, else the entry of auths with the longest path that fits, else the helper of
 * credsStore. An entry that cannot be read is INVALID_ARGUMENT.
 */
int auth_file_find(const struct auth_file *file, const char *host, const char *repository,
                   struct auth_file_answer *answer, struct error *err);

static inline void cleanup_auth_file(struct auth_file **file)
{
        auth_file_free(*file);
}
#define AUTO_AUTH_FILE CLEANUP(cleanup_auth_file)

#endif
