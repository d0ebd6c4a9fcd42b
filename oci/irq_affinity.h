/*
 * irq_affinity: interrupts kept off a container's processors.
 *
 * The mask for interrupts that come up (/proc/irq/default_smp_affinity) loses those processors, and
 * irqbalance, which deals out those that there are, is told to leave them alone.
 *
 * Functions block, and run one at a time. folder and owner are those of setting.h.
 */
#ifndef CRISP_OCI_IRQ_AFFINITY_H
#define CRISP_OCI_IRQ_AFFINITY_H

#include "oci/cpu_list.h"

#define IRQ_AFFINITY_MASK "/proc/irq/default_smp_affinity"

struct irq_affinity {
        const char *mask;   /* IRQ_AFFINITY_MASK */
        const char *config; /* irqbalance's file of variables; empty or missing: not touched */
        const char *kept;   /* where its IRQBALANCE_BANNED_CPUS from before is kept: a file that
                               outlives a reboot, as config does */
};

/* Takes the processors out. *banned (heap) is the mask that irqbalance is to leave alone. A mask
 * that would be left empty is FAILED_PRECONDITION. */
int irq_affinity_exclude(const struct irq_affinity *irq, const char *folder, const char *owner,
                         const struct cpu_list *cpus, char **banned, struct error *err);

/* Gives back those that the owner took and no other has taken. *banned is null where there was
 * nothing to do. */
int irq_affinity_include(const struct irq_affinity *irq, const char *folder, const char *owner,
                         char **banned, struct error *err);

/* At the start: puts irqbalance's configuration back where a reboot ended all that changed it. */
int irq_affinity_mend(const struct irq_affinity *irq, const char *folder, struct error *err);

#endif
