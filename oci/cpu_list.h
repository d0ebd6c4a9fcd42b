/*
 * cpu_list: sets of processors, in the kernel's two forms: lists ("0-3,8") and masks
 * ("ff,0000000f").
 *
 * Pure; any thread. Texts are the caller's on the heap.
 */
#ifndef CRISP_OCI_CPU_LIST_H
#define CRISP_OCI_CPU_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define CPU_LIST_MAX      8192        /* processors: the most that Linux can be built for */
#define CPU_LIST_TEXT_MAX (64 * 1024) /* bytes of a list or mask */

struct cpu_list {
        uint64_t words[CPU_LIST_MAX / 64];
};

/* "0-3,8". Empty is the empty set, and a line's
 * end may follow. INVALID_ARGUMENT quoting the text. *cpus is untouched on failure. */
int cpu_list_parse(const char *text, struct cpu_list *cpus, struct error *err);
/* "ff,ffffffff": hexadecimal digits, commas anywhere between them. */
int cpu_list_parse_mask(const char *text, struct cpu_list *cpus, struct error *err);

char *cpu_list_text(const struct cpu_list *cpus);
/* In groups of eight digits, as wide as width processors need. */
char *cpu_list_mask(const struct cpu_list *cpus, size_t width);
/* How many processors a mask of this form has room for: four for each of its digits. */
size_t cpu_list_mask_width(const char *mask);

bool cpu_list_has(const struct cpu_list *cpus, size_t cpu);
void cpu_list_add(struct cpu_list *cpus, size_t cpu);
size_t cpu_list_count(const struct cpu_list *cpus);
/* The first at or after `from`; CPU_LIST_MAX when there is none. */
size_t cpu_list_next(const struct cpu_list *cpus, size_t from);
bool cpu_list_equal(const struct cpu_list *a, const struct cpu_list *b);
void cpu_list_join(struct cpu_list *cpus, const struct cpu_list *other);   /* union */
void cpu_list_remove(struct cpu_list *cpus, const struct cpu_list *other); /* difference */
void cpu_list_common(struct cpu_list *cpus, const struct cpu_list *other); /* intersection */

#endif
