/*
 * container_stuck: what a container waits for that was killed and does not end.
 */
#ifndef CRISP_CRI_CONTAINER_STUCK_H
#define CRISP_CRI_CONTAINER_STUCK_H

#include <stddef.h>

#include "cri/container.h"

/* Adds to text, of size bytes, how many processes are left and what one of them waits for, in
 * words. Task only; waits for a worker. */
void container_describe_stuck(struct container *container, char *text, size_t size);

#endif
