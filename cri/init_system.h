/*
 * init_system: containers whose first program is an init system (systemd, or /sbin/init whatever it
 * is), which wants more than others: its own tmpfs, a cgroup that it may divide, another stop
 * signal. Pure.
 */
#ifndef CRISP_CRI_INIT_SYSTEM_H
#define CRISP_CRI_INIT_SYSTEM_H

#include <stdbool.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "image/config.h"

/* What asks systemd to end in good order: SIGRTMIN+3. */
#define INIT_SYSTEM_STOP_SIGNAL "SIGRTMIN+3"

/* Whether the program that the container runs, by its configuration or its image, is one. */
bool init_system_runs(const Runtime__V1__ContainerConfig *config, const struct image_config *image);

#endif
