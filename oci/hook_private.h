/*
 * hook_private: what the files of oci/hook*.c share. For nobody else, but for the fuzz target.
 */
#ifndef CRISP_OCI_HOOK_PRIVATE_H
#define CRISP_OCI_HOOK_PRIVATE_H

#include "base/json.h"
#include "oci/hook.h"

/* One file; all of it is in the arena that it was parsed into. */
struct hook_file {
        struct spec_hook hook; /* without its stage */
        bool stages[SPEC_HOOK_STAGES];
        bool any; /* one condition is enough; else all must hold */
        bool has_always, always;
        bool has_bind_mounts, bind_mounts;
        struct spec_pair *annotations; /* patterns of keys and values */
        size_t annotation_count;
        const char **commands; /* patterns */
        size_t command_count;
};

/* INVALID_ARGUMENT "PATH: ...". Patterns are known to be right afterwards. Pure; any thread. */
int hook_parse(const json_t *document, const char *path, struct arena *arena,
               struct hook_file *file, struct error *err);

/* Whether the conditions hold. */
bool hook_matches(const struct hook_file *file, const struct hook_question *question);

/*
 * Whether a text has a part that a pattern describes: 1, 0, or INVALID_ARGUMENT for a pattern that
 * is none. Patterns are written as for Go's regexp and searched as POSIX extended regular
 * expressions, into which \d, \w, \s, \A, \z, (?:, a leading (?i), *?, +? and ?? are translated;
 * what has no such translation is refused. Any thread.
 */
int hook_pattern_matches(const char *pattern, const char *text, struct error *err);

#endif
