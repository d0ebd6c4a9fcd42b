/*
 * spread: keeps new folders away from where trees were just removed.
 *
 * ext4 without a journal does not give an inode again for one to six minutes after it was removed,
 * and looks at each such inode whenever it makes a file in their group (recently_deleted in Linux's
 * fs/ext4/ialloc.c): filling a folder takes ten times as long there. In a folder that has chattr's
 * attribute T ext4 puts a new one where the fewest folders are, and that is where a tree was just
 * removed. Inode numbers that are near are in groups that are near; elsewhere nothing is lost by
 * heeding them.
 */
#ifndef CRISP_IMAGE_SPREAD_H
#define CRISP_IMAGE_SPREAD_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct spread;

struct spread *spread_new(void);
void spread_free(struct spread *spread);

/* Gives the folder the attribute T, where the file system has it. */
void spread_folder(int parent_fd, const char *folder);

/* A tree with this inode is about to be removed. From any thread; now is monotonic. */
void spread_note(struct spread *spread, ino_t inode, int64_t now);

/* How many numbers the inode is from the nearest that was noted lately; UINT64_MAX where none was.
 * From any thread. */
uint64_t spread_distance(struct spread *spread, ino_t inode, int64_t now);

/*
 * Makes the folder name, a path from fd, with mode 0700: of the places that the file system
 * offers one far from what was noted, or the farthest. From any thread; blocking.
 */
int spread_make(struct spread *spread, int fd, const char *name, struct error *err);

#endif
