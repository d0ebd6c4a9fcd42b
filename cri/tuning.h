/*
 * tuning: processors given to a container as its own, by CRI-O's annotations: no load balancing, no
 * interrupts, no quota, no deep sleep, a frequency governor, and processors that it shares.
 *
 * Only for containers of guaranteed pods that ask for whole processors, as CRI-O has it; for all
 * others the annotations have no effect. An annotation counts only where it is allowed
 * (annotation.h). What is changed on the machine is kept in RUN/tuning first (oci/setting.h), so
 * that it is put back also by a later daemon.
 */
#ifndef CRISP_CRI_TUNING_H
#define CRISP_CRI_TUNING_H

#include "cri/container.h"
#include "oci/cpu_list.h"
#include "oci/spec.h"

enum tuning_interrupts { TUNING_INTERRUPTS_STAY, TUNING_INTERRUPTS_OFF, TUNING_HOUSEKEEPING };

struct tuning {
        bool no_balance;
        bool no_quota;
        bool shared; /* has the node's shared processors, too */
        enum tuning_interrupts interrupts;
        const char *latency;         /* of pm_qos_resume_latency_us; null leaves it */
        const char *governor;        /* null leaves it */
        struct cpu_list cpus;        /* its own */
        struct cpu_list shared_cpus; /* those that it shares */
        struct cpu_list keep;        /* of its own, those that go on taking interrupts */
};

/* What holds for the container, whose resources are chosen. *tuning is all zero where nothing does.
 * INVALID_ARGUMENT naming the annotation for a value that is none. Reads sysfs; any thread. */
int tuning_read(const struct container *container, struct tuning *tuning, struct error *err);

/* Changes the limits for the runtime as tuning has it. Texts live in the arena. */
void tuning_change_spec(const struct tuning *tuning, struct arena *arena,
                        struct spec_resources *spec);

/* The variables that it adds, "NAME=value" in the arena, at most TUNING_VARIABLES of them and then
 * null. */
#define TUNING_VARIABLES 4
void tuning_variables(const struct tuning *tuning, const struct container *container,
                      struct arena *arena, char *variables[TUNING_VARIABLES + 1]);

/* The processor on which commands in the container begin, where its handler wants that: the first
 * of those that it shares, else of its own. False where they may begin on any. */
bool tuning_exec_processor(const struct container *container, struct cpu_list *first);

/* Before the runtime makes the container: what its cgroup's parent must allow. Waits. */
int tuning_prepare(struct container *container, struct error *err);
/* When its cgroup is there and its command does not run yet. Waits. On failure tuning_end undoes
 * what was done. */
int tuning_begin(struct container *container, struct error *err);
/* When it has ended. Idempotent; waits only where something is to be put back. */
int tuning_end(struct container *container, struct error *err);

/* After a start: puts back what was changed for containers that are not there any more. A task is
 * started where there is such. */
void tuning_recover(void);

#endif
