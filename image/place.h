/*
 * place: the cgroup that a crisp-image starts in. Who makes such knows cgroups; image/ does not.
 */
#ifndef CRISP_IMAGE_PLACE_H
#define CRISP_IMAGE_PLACE_H

/* As process_options have it, and what its maker needs to take it away. */
struct pull_place {
        const char *cgroup; /* its path, for people; null: the daemon's */
        int cgroup_fd;
        const char *const *cgroup_v1_tasks;
        void *spot, *leaf;
};
#define PULL_PLACE_INIT                                                                            \
        {                                                                                          \
                .cgroup_fd = -1                                                                    \
        }

#endif
