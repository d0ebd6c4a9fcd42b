/*
 * check_private: what the files of cri/check*.c share. For nobody else.
 */
#ifndef CRISP_CRI_CHECK_PRIVATE_H
#define CRISP_CRI_CHECK_PRIVATE_H

#include "base/json.h"
#include "cri/check.h"

struct check {
        const struct config *config;
        json_t *findings; /* [{"verdict", "what", "text"}] */
};

void check_pass(struct check *check, const char *what, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* Pods run, and something will be missed: the text says what to do. */
void check_warn(struct check *check, const char *what, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* No pod runs, or those of one kind do not. */
void check_fail(struct check *check, const char *what, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* What of the kernel and of this process there is (check_kernel.c); files, folders and disks
 * (check_files.c). */
void check_kernel(struct check *check);
void check_files(struct check *check);

#endif
