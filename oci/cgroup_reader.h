/*
 * cgroup_reader: reads what a cgroup uses, again and again.
 *
 * The files that are asked for each time stay open between two readings, as far as the number of
 * descriptors that all readers may keep allows: opening one costs more than reading it (ten files
 * by path 100 us, by an open folder 70, by kept descriptors 20).
 *
 * A reader is used by one thread at a time. Reading blocks where the kernel does.
 */
#ifndef CRISP_OCI_CGROUP_READER_H
#define CRISP_OCI_CGROUP_READER_H

#include "oci/cgroup.h"
#include "oci/cgroup_stats.h"

struct cgroup_reader;

/* For the cgroup at path ("/kubepods/podX/ID"). system is borrowed and must outlive the reader.
 * Opens nothing. */
struct cgroup_reader *cgroup_reader_new(const struct cgroup_system *system, const char *path);
/* Closes what it keeps open; null is allowed. */
void cgroup_reader_free(struct cgroup_reader *reader);

/*
 * Reads these parts (enum cgroup_part) into *stats, and CGROUP_PART_DETAIL into *detail, which may
 * be null without it. stats->parts says what could be read: a controller that the machine has not,
 * or that is not on here, is left out. -ENOENT (NOT_FOUND) where nothing could be: the cgroup is
 * gone.
 */
int cgroup_reader_read(struct cgroup_reader *reader, unsigned parts, struct cgroup_stats *stats,
                       struct cgroup_detail *detail, struct error *err);

/* How many descriptors all readers may keep; 0 keeps none. At the start, half of those that the
 * process may have, up to CGROUP_READER_KEPT_MAX. Any thread. */
#define CGROUP_READER_KEPT_MAX 8192
void cgroup_reader_keep(unsigned descriptors);
/* How many are kept now. */
unsigned cgroup_reader_kept(void);
/* Closes what this one keeps: for a time without readings. */
void cgroup_reader_rest(struct cgroup_reader *reader);

#endif
