/*
 * journal: a copy of the log's lines for systemd-journald, in its native protocol.
 *
 * Each line is one datagram with MESSAGE, PRIORITY (6 for stdout, 3 for stderr), CONTAINER_ID,
 * CONTAINER_ID_FULL, CONTAINER_NAME, SYSLOG_IDENTIFIER and, where the line goes on in the next one,
 * CONTAINER_PARTIAL_MESSAGE=true. Nobody is waited for: what journald does not take at once is
 * counted and dropped.
 */
#ifndef CRISP_CONMON_JOURNAL_H
#define CRISP_CONMON_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define JOURNAL_FIELDS_MAX 1024 /* bytes of the fields that each line has */

struct journal {
        int fd; /* -1: there is none */
        uint64_t lost_lines;
        struct sockaddr_un address;
        size_t fields_length;
        char fields[JOURNAL_FIELDS_MAX];
};

/*
 * Readies it for the socket at path, which need not be there yet; a null path gives none. id and
 * name are the container's; control characters in them are replaced. Returns 0 or a negative errno.
 */
int journal_open(struct journal *journal, const char *path, const char *id, const char *name);

/* Sends a line that is in two pieces; its newline is no part of it. */
void journal_send(struct journal *journal, bool is_error, bool goes_on, const char *begin,
                  size_t begin_length, const char *rest, size_t rest_length);

void journal_close(struct journal *journal);

#endif
