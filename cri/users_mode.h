/*
 * users_mode: a pod's user namespace as an annotation asks for it, in CRI-O's words:
 *
 *     auto[:size=N;keep-id=true;map-to-root=true;uidmapping=MAPS;gidmapping=MAPS]
 *     private[:uidmapping=MAPS;gidmapping=MAPS]
 *
 * MAPS is CONTAINER:HOST:LENGTH,... Pure functions; any thread.
 */
#ifndef CRISP_CRI_USERS_MODE_H
#define CRISP_CRI_USERS_MODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "oci/spec.h"

#define USERS_MODE_SIZE 65536 /* IDs of a pod that says no other number */

/* A list that grows; the owner frees maps. */
struct users_maps {
        struct spec_id_map *maps;
        size_t count;
};

struct users_mode {
        bool automatic;
        uint32_t size;
        bool keep_id, map_to_root;
        struct users_maps uids, gids; /* as asked for; empty for none */
};

int users_mode_parse(const char *text, struct users_mode *mode, struct error *err);
void users_mode_fini(struct users_mode *mode);

void users_maps_add(struct users_maps *maps, uint32_t container, uint32_t host, uint32_t length);

/* Maps one ID of the host, if it is not mapped yet, to the first of the container's past those that
 * are. */
void users_maps_add_host(struct users_maps *maps, uint32_t host);

/* Maps the container's first `size` IDs, but for those that are mapped already, to as many of the
 * host's from `first` on. */
void users_maps_fill(struct users_maps *maps, uint32_t first, uint32_t size);

#endif
