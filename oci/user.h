/*
 * user: who a container's process is, as its image's own /etc/passwd and /etc/group say.
 */
#ifndef CRISP_OCI_USER_H
#define CRISP_OCI_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define USER_FILE_MAX                                                                              \
        (1024 * 1024) /* bytes of /etc/passwd and of /etc/group; a longer one is refused */
#define USER_LINE_MAX   (64 * 1024) /* bytes of a line; longer ones are passed over */
#define USER_GROUPS_MAX 4096 /* additional groups; more are refused. The kernel takes 65536 */

/* What is asked for. The first of has_uid, name and image_user that is given counts. Zeroes ask for
 * root. */
struct user_request {
        bool has_uid;
        int64_t uid;            /* run_as_user; 0 to 2^32-2 */
        const char *name;       /* run_as_username; null or empty is none */
        const char *image_user; /* the image's USER: "", "name", "uid", "name:group", "uid:gid" and
                                   mixtures */
        bool has_gid;
        int64_t gid; /* run_as_group, goes before the image's and the file's */
        const int64_t *supplemental_groups;
        size_t supplemental_group_count;
        bool strict; /* SupplementalGroupsPolicy Strict: no groups from /etc/group but the primary
                        one */
};

struct user {
        uint32_t uid;
        uint32_t gid;
        uint32_t *gids; /* additional groups, the primary one first, without doubles; heap */
        size_t gid_count;
        char *name; /* as found in /etc/passwd, or null; heap */
        char *home; /* for HOME: as in /etc/passwd, "/" where there is none; heap */
};

/*
 * Resolves the request within the tree of root_fd (borrowed; a folder, or O_PATH of one). A numeric
 * user need not be in the files: its group is then 0. A name that is not there is INVALID_ARGUMENT
 * "user \"web\": not in the image's /etc/passwd". Blocks on the disk: from a task call it in
 * task_offload. The caller calls user_fini.
 */
int user_resolve(int root_fd, const struct user_request *request, struct user *user,
                 struct error *err);
void user_fini(struct user *user);

#define AUTO_USER CLEANUP(user_fini)

#endif
