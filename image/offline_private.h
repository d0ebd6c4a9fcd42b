/*
 * offline_private: what offline's own files share. Nobody else includes this.
 */
#ifndef CRISP_IMAGE_OFFLINE_PRIVATE_H
#define CRISP_IMAGE_OFFLINE_PRIVATE_H

#include "image/fetcher.h"
#include "image/layer.h"
#include "image/offline.h"

struct offline {
        struct store *store;
        struct puller *puller;
        char *program;
        char **environment;
        struct fetch_limits limits;
};

/* One call, which may run crisp-image several times. */
struct offline_run {
        struct offline *offline;
        const struct offline_hooks *hooks; /* or null */
        struct offline_summary summary;
        /* Replies that not every kind has; null where there are none. */
        int (*on_other)(struct offline_run *run, const struct offline_reply *reply,
                        struct arena **arena, struct error *err);
        void (*on_failure)(struct offline_run *run, const struct finding *finding); /* or null */
        void *argument;
};

int offline_run(struct offline_run *run, const struct offline_request *request, int fd, bool *ended,
                struct error *err);
/* Counts a finding and tells it. */
void offline_tell(struct offline_run *run, const struct finding *finding);

/* The folders that a verify or save reads. */
void offline_name_stores(const struct store *store, struct arena *arena,
                         struct offline_request *request);

/* Images that stay while they are read, as those of containers do. */
struct offline_hold {
        struct store *store;
        char user[32];
        char **ids; /* each once */
        size_t count;
};
#define AUTO_OFFLINE_HOLD CLEANUP(offline_hold_fini)
void offline_hold_fini(struct offline_hold *hold);
/* No names: all images. offline_hold_fini is due, also after a failure. */
int offline_hold_images(struct offline_hold *hold, struct store *store, const char *const *names,
                        size_t count, struct error *err);

/* The store's image, which is held, for crisp-image: without names. Copied into arena. */
/* Verifies what is held. */
int offline_verify_held(struct offline_run *run, const struct offline_hold *hold,
                        struct error *err);

void offline_describe(const struct store *store, const char *id, struct arena *arena,
                      struct offline_image *described);

#endif
