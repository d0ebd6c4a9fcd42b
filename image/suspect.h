/*
 * suspect: images that were put in place shortly before the machine went down.
 *
 * What the store has is synced before it counts, so all of it should be whole. Disks lie, though:
 * after a power cut what was written last is looked at again, and fetched again where it is broken.
 * A file in the store says, by the boot ID, that a daemon works there; an orderly end takes it
 * away. Loop's thread.
 */
#ifndef CRISP_IMAGE_SUSPECT_H
#define CRISP_IMAGE_SUSPECT_H

#include "base/clock.h"
#include "base/error.h"
#include "image/offline.h"
#include "image/store.h"

/*
 * An image is suspect when it was pulled within this time before the newest one: everything older
 * lay below several syncs of the whole file system, one for each pull.
 */
#define SUSPECT_TIME (10 * 60 * NSEC_PER_SEC)

struct suspects;

/*
 * Notes in the store that a daemon works there, durably, and whether one did when the machine went
 * down: boot_id is this boot's. Blocks on the disk: before the loop runs. Both others outlive it.
 */
int suspects_new(struct store *store, struct offline *offline, const char *boot_id,
                 struct suspects **suspects, struct error *err);
void suspects_free(struct suspects *suspects); /* no check may be under way; null is allowed */

/* Whether there is something to look at. */
bool suspects_are_there(const struct suspects *suspects);

/* How the check after an unclean stop gets on; the strings are borrowed until the caller waits. */
struct suspects_progress {
        int64_t since;     /* real time, ns */
        const char *image; /* ID of the one that is looked at; null: none, or not any more */
        const char *step;  /* "verifying", "fetching again"; "" without image */
        unsigned images, looked_at, mended, removed;
        unsigned unknown; /* could not be looked at: the next start tries again */
};
/* False where the machine went down in order, as far as this start knows. */
bool suspects_progress(const struct suspects *suspects, struct suspects_progress *progress);

/*
 * Looks at suspect images one after the other, in a task of its own: verifies each, fetches what
 * is broken of it again by its repo digest, and removes it where that cannot be. Each is logged.
 */
void suspects_check(struct suspects *suspects);

/* For an orderly end: ends the check, and takes the note away unless there is something left to
 * look at. Waits. */
void suspects_stop(struct suspects *suspects);

#endif
