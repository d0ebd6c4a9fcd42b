/*
 * errand: what crisp-image does beside pulls: verifying, saving, loading and checking.
 *
 * First everything that the request names on this machine is opened, then the process shuts itself
 * in, and only then does it run.
 */
#ifndef CRISP_IMAGE_FETCH_ERRAND_H
#define CRISP_IMAGE_FETCH_ERRAND_H

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "image/fetch/confine.h"
#include "image/fetch/load.h"
#include "image/offline_request.h"

struct errand {
        struct offline_request request;
        struct loaded loaded; /* for a check of what a registry has */
        int fd;               /* a file or pipe: the archive or output; else -1 */
        bool has_folder;      /* a folder is in its place: the box's last one */
};

/*
 * Decodes the line and loads what it names; OFFLINE_FD is taken where the kind needs it. Strings
 * live in the arena. *box is what confine_close wants. errand_fini is due after success only.
 * Blocks.
 */
int errand_open(const char *line, size_t length, struct arena *arena, struct errand *errand,
                struct confine_box *box, struct error *err);
void errand_fini(struct errand *errand);

/* Does it, in the closed box; findings, progress and results go to say, in the calling thread.
 * Blocks. */
int errand_run(struct errand *errand, const struct confine_box *box,
               void (*say)(void *, const struct offline_reply *), void *argument,
               struct arena *arena, struct error *err);

#endif
