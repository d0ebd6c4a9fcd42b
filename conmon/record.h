/*
 * record: how a container's end is written down, durably.
 */
#ifndef CRISP_CONMON_RECORD_H
#define CRISP_CONMON_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct exit_record {
        pid_t pid;
        uint64_t start_time; /* clock ticks since boot */
        int exit_code;
        int signal;
        bool oom_killed;
        int64_t finished_at; /* ns since 1970 */
};

/*
 * Puts the record (see protocol.h) into the folder as a whole: written beside, synced, renamed,
 * folder synced. Returns 0 or a negative errno; then it may be called again.
 */
int exit_record_write(const char *directory, const struct exit_record *record);

#endif
