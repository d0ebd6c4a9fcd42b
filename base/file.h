/*
 * file: files and folders as wholes.
 *
 * These functions block on the disk: from a task call them through task_offload. Any thread.
 * Descriptors are close-on-exec. Paths are ours; inside a container's or a layer's tree use
 * file_open_in.
 */
#ifndef CRISP_BASE_FILE_H
#define CRISP_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"

/* Adds the whole file to *contents; what is longer than max bytes is -EFBIG. Reads /proc and cgroup
 * files too. */
int file_read(const char *path, size_t max, struct buffer *contents, struct error *err);

/*
 * Adds a whole file in the folder folder_fd (AT_FDCWD for a path) that somebody else writes, who
 * may be hostile: no symlink is followed, a pipe is not waited for, and what is empty, longer than
 * max or no plain file is FAILED_PRECONDITION. A zero byte follows the contents.
 */
int file_read_plain(int folder_fd, const char *name, size_t max, struct buffer *contents,
                    struct error *err);

/* Writes to a file that is there already (cgroup, /proc/sys): open, one write, close. */
int file_write(const char *path, const char *text, struct error *err);

/*
 * Replaces path as a whole: written beside it, synced, renamed over it, folder synced. After a
 * crash the old or the new contents are there. mode as of open(2), the umask does not apply.
 */
int file_replace(const char *path, const void *bytes, size_t length, mode_t mode,
                 struct error *err);
/* The same without syncing: for /run, where nothing outlives a power cut. */
int file_replace_volatile(const char *path, const void *bytes, size_t length, mode_t mode,
                          struct error *err);

/* Makes the folder and its missing parents with mode; there already is fine. */
int file_make_directories(const char *path, mode_t mode, struct error *err);

/*
 * Removes path and everything below it; not there is fine. Never follows a symlink and never
 * crosses into another mount: a mount point inside gives -EBUSY. The tree may be of any depth.
 */
int file_remove_tree(const char *path, struct error *err);

/* Syncs the folder that holds path. */
int file_sync_parent(const char *path, struct error *err);

/*
 * Opens path inside the tree of root_fd with openat2 and RESOLVE_IN_ROOT: symlinks and .. stay
 * inside. flags and mode as of open(2). Returns the descriptor or a negative errno.
 */
int file_open_in(int root_fd, const char *path, int flags, mode_t mode, struct error *err);

/* Bytes (st_blocks) and inodes below path, without crossing mounts; each hard link counted once. */
int file_tree_usage(const char *path, unsigned long long *bytes, unsigned long long *inodes,
                    struct error *err);

#endif
