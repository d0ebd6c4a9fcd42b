/*
 * container_usage: what containers have written to their folders.
 *
 * Measured in the background, one container after the other, while somebody asks; what is told is
 * what was measured last. A big one is measured the less often the longer that takes, so that
 * measuring has a bounded part of a disk's time. Loop's thread only; nothing here waits.
 */
#ifndef CRISP_CRI_CONTAINER_USAGE_H
#define CRISP_CRI_CONTAINER_USAGE_H

#include <stdbool.h>
#include <stdint.h>

/* In struct container; zeroes: neither made by this daemon nor measured yet. */
struct container_usage {
        bool known;
        bool begun;        /* made by this daemon: until it is known, it is as good as empty */
        bool final;        /* measured after its end */
        int64_t timestamp; /* real ns, when it was measured */
        int64_t next_at;   /* monotonic ns: not measured before */
        unsigned long long bytes, inodes;               /* of the writable layer */
        unsigned long long folder_bytes, folder_inodes; /* of all of its folder */
};

struct container;

/* Its writable layer has just been made. */
void container_usage_begin(struct container *container);

/* Has those measured whose time has come. */
void container_usage_refresh(void);

/* Of all containers and the folder that they are in, with the file system that it is on. */
struct container_usage_total {
        int64_t timestamp; /* real ns; 0 before the first measurement */
        unsigned long long bytes, inodes;
        unsigned long long fs_bytes, fs_inodes, fs_inodes_free;
};
void container_usage_total(struct container_usage_total *total);

#endif
