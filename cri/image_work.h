/*
 * image_work: crisp.v1's calls that work on images for a while: load, save, check, verify, repair.
 *
 * Each runs its work in a task of its own and sends what that reports, as fast as the client reads;
 * with the client gone, or its deadline past, the work is interrupted and waited for. Loop's
 * thread, in a task.
 */
#ifndef CRISP_CRI_IMAGE_WORK_H
#define CRISP_CRI_IMAGE_WORK_H

#include "cri/rpc.h"

/* Findings that wait for a client that does not read; then the work's are dropped, and counted as
 * unsaid. */
#define IMAGE_WORK_FINDINGS_MAX 100000

rpc_handler image_work_load_handler, image_work_save_handler, image_work_check_handler,
        image_work_verify_handler, image_work_repair_handler;

#endif
