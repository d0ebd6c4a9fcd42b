/*
 * cleanup: resources that let go of themselves when they leave their scope.
 *
 * A variable declared with one of these attributes is released on every way out of its block, so
 * that an early return is always right. Hand the resource on with take_ptr or take_fd, which leave
 * nothing behind to release. Every releaser takes null or -1 and keeps errno. Other modules add
 * their own attribute beside their type.
 */
#ifndef CRISP_BASE_CLEANUP_H
#define CRISP_BASE_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

static inline void cleanup_free(void *pointer)
{
        int saved = errno;
        free(*(void **)pointer);
        errno = saved;
}

static inline void cleanup_fd(int *fd)
{
        int saved = errno;
        if (*fd >= 0)
                close(*fd);
        errno = saved;
}

static inline void cleanup_file(FILE **file)
{
        int saved = errno;
        if (*file)
                fclose(*file);
        errno = saved;
}

static inline void cleanup_dir(DIR **dir)
{
        int saved = errno;
        if (*dir)
                closedir(*dir);
        errno = saved;
}

#define AUTO_FREE CLEANUP(cleanup_free) /* a pointer from malloc */
#define AUTO_FD   CLEANUP(cleanup_fd)   /* a descriptor, -1 when there is none */
#define AUTO_FILE CLEANUP(cleanup_file) /* a FILE * */
#define AUTO_DIR  CLEANUP(cleanup_dir)  /* a DIR * */

/* Gives the pointer away: its variable is null afterwards. */
#define take_ptr(variable)                                                                         \
        ({                                                                                         \
                __typeof__(variable) taken_ = (variable);                                          \
                (variable) = NULL;                                                                 \
                taken_;                                                                            \
        })

/* Gives the descriptor away: its variable is -1 afterwards. */
static inline int take_fd(int *fd)
{
        int taken = *fd;
        *fd = -1;
        return taken;
}

#endif
