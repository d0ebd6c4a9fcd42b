/*
 * config_machine: what the machine has, as far as the configuration's defaults depend on it. Used
 * by config.c alone.
 */
#ifndef CRISP_CRI_CONFIG_MACHINE_H
#define CRISP_CRI_CONFIG_MACHINE_H

#include <stdbool.h>

#include "base/cleanup.h"

struct config_machine {
        bool systemd; /* systemd is the init system */
        bool hybrid;  /* cgroup v1 with a v2 hierarchy beside it */
        char *runc;   /* absolute path of the program, or null where there is none */
        char *crun;
        char *kata; /* shims of containerd's kind */
        char *runsc;
        char *crun_wasm; /* crun under this name runs WebAssembly */
        char *youki;
};

/* Looks below root ("" is the machine itself). The caller calls config_machine_fini. Blocks on the
 * disk. */
void config_machine_probe(const char *root, struct config_machine *machine);
void config_machine_fini(struct config_machine *machine);

/* Name of the handler for pods that name none: "crun", "runc" or "youki". */
const char *config_machine_handler(const struct config_machine *machine);

#define AUTO_CONFIG_MACHINE CLEANUP(config_machine_fini)

#endif
