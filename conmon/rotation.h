/*
 * rotation: the files that a log was before, named as the kubelet names them.
 *
 *     0.log                     the log
 *     0.log.20161006-001709     what it was until then (UTC)
 *     0.log.20161005-231155.gz  older, packed by the kubelet
 *
 * So the kubelet, which rotates logs too, finds ours and counts, packs and removes them with its
 * own.
 */
#ifndef CRISP_CONMON_ROTATION_H
#define CRISP_CONMON_ROTATION_H

#include <stdint.h>
#include <sys/types.h>

#define ROTATION_FILES_MAX 100 /* of one log, the current one among them */

/*
 * Puts an empty file with this mode into the log's place, in one step: a reader who follows the log
 * sees a new file, where truncating would let him read on from an offset that is gone. What was
 * there stays under a name of its own while the log has at most files files, of which the oldest
 * go; with 1 it goes at once. *last is the time of the newest such name in seconds since 1970, at
 * first 0: names made within a second get different ones. Returns the file, open for appending, or
 * a negative errno: then the log is what it was.
 */
int rotation_start_anew(const char *path, mode_t mode, unsigned files, int64_t *last);

#endif
