/*
 * layers: the layers of one pull, several at a time.
 *
 * Each layer that the store has not is asked about before it is fetched, where somebody answers:
 * what another pull fetches is waited for while the others of this one come. A layer that is whole
 * is described beside its folder, so that it counts whatever becomes of the pull.
 */
#ifndef CRISP_IMAGE_FETCH_LAYERS_H
#define CRISP_IMAGE_FETCH_LAYERS_H

#include "base/arena.h"
#include "base/error.h"
#include "image/fetch/artifact.h"
#include "image/fetch/desk.h"
#include "image/fetch/layer.h"
#include "image/fetch/load.h"
#include "image/fetch/manifest.h"
#include "image/fetch/registry.h"
#include "image/fetch/stop.h"
#include "image/request.h"

struct fetch_listener {
        /* Called from several threads, at most a few times a second for each layer. So are want and
         * layer, once for each. */
        layer_progress *progress;
        /* Told what was signed, before a layer is fetched, where the request wants it: whether to
         * go on. From the thread of fetch_run. */
        int (*found)(void *argument, const struct fetch_signatures *found, struct error *err);
        void (*want)(void *argument, const struct fetch_want *want);
        void (*layer)(void *argument, const struct fetch_layer *layer); /* is whole */
        struct desk *desk; /* has the answers to want; null: nobody is asked. So are want, layer */
        void *argument;
};

/* All borrowed. */
struct layers_options {
        const struct fetch_request *request;
        const struct loaded *loaded;
        const struct fetch_limits *limits; /* none of them 0 that has a default */
        const struct manifest *manifest;
        const char *const *diff_ids;     /* as many as the manifest has layers; of an image */
        const struct artifact *artifact; /* null: it is an image. Nobody is asked about its blobs */
        struct registry *registry;
        struct stop *stop;
        const struct fetch_listener *listener;
        int staging_fd;
        int layers_fd;
        int tars_fd;
};

struct layers;

struct layers *layers_new(const struct layers_options *options);
void layers_free(struct layers *layers); /* null is allowed */

/* Bytes of all layers, whether they come or not. INVALID_ARGUMENT where they overflow total. */
int layers_add_sizes(const struct layers *layers, int64_t *total, struct error *err);

/*
 * Fetches what has to come; its threads have ended when it returns. A failure sets stop.
 * RESOURCE_EXHAUSTED where the disk has no room; else what layer_fetch and blob_check say.
 */
int layers_fetch(struct layers *layers, struct error *err);

/* Tells once more that the last layer is done: we are alive. */
void layers_report_last(struct layers *layers);

/* The layers of the result, in the arena. After layers_fetch. */
void layers_describe(const struct layers *layers, struct arena *arena, struct fetch_result *result);

#endif
