/*
 * beneath: files of a folder whose names strangers chose, opened without a way out.
 */
#ifndef CRISP_IMAGE_FETCH_BENEATH_H
#define CRISP_IMAGE_FETCH_BENEATH_H

/*
 * Opens path below root_fd (openat2; close-on-exec). Nothing on the way is a symlink, leads up, or
 * is on another file system: those, and what is not there, give a negative errno (ELOOP, EXDEV,
 * ENOENT). Blocks.
 */
int beneath_open(int root_fd, const char *path, int flags);

#endif
