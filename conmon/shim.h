/*
 * shim: the little of ttrpc and protobuf that the static programs need to ask a shim something.
 *
 * Whole requests come as files from the daemon, or are put together here; answers are read as far
 * as they are understood. Nothing here waits, except that a shim which does not read is given
 * SHIM_PATIENCE.
 */
#ifndef CRISP_CONMON_SHIM_H
#define CRISP_CONMON_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include "conmon/text.h"

#define SHIM_PATIENCE   10          /* seconds for a request to go out */
#define SHIM_ANSWER_MAX (16 * 1024) /* bytes kept of an answer; the rest is dropped */
#define SHIM_HEADER     10          /* bytes before each message */

/* Connects to "unix:///path", "/path", "@abstract" or a bare abstract name. Returns a descriptor
 * (close-on-exec, reads do not wait) or a negative errno. */
int shim_connect(const char *address);

/* Sends all of it. Returns 0 or a negative errno. */
int shim_send(int fd, const void *bytes, size_t length);
/* Sends what is in a file, by way of memory. */
int shim_send_file(int fd, const char *path, char *memory, size_t size);

/* What is being received; zeroes at first. */
struct shim_reader {
        size_t length;  /* of what is in bytes */
        size_t dropped; /* of the message's end, which did not fit */
        uint8_t bytes[SHIM_HEADER + SHIM_ANSWER_MAX];
};

struct shim_answer {
        uint32_t stream;
        uint32_t code; /* of google.rpc.Code; 0 is success */
        const char *message;
        size_t message_length;
        const uint8_t *payload;
        size_t length;
};

/* Reads what is there. 1: a whole answer, valid until the next call; 0: nothing yet; -EPIPE: the
 * connection has ended; another negative errno. */
int shim_receive(int fd, struct shim_reader *reader, struct shim_answer *answer);

/* Reads an answer of these bytes, the header included. 0 or -EPROTO. */
int shim_parse(const uint8_t *bytes, size_t length, struct shim_answer *answer);

/* ---- fields of a message ---- */

/* The last number (varint) of this field, or 0. */
uint64_t shim_number(const uint8_t *message, size_t length, uint32_t field);
/* The last length-delimited value of this field; null where there is none. One that goes past the
 * end is cut there. */
const uint8_t *shim_bytes(const uint8_t *message, size_t length, uint32_t field, size_t *size);

void shim_add_number(struct text *message, uint32_t field, uint64_t value);
void shim_add_bytes(struct text *message, uint32_t field, const void *bytes, size_t length);
/* The beginning of such a value, whose bytes follow elsewhere. */
void shim_add_length(struct text *message, uint32_t field, size_t length);
void shim_add_string(struct text *message, uint32_t field,
                     const char *string); /* left out where empty */

/* A container.task.v2 WaitResponse or DeleteResponse's end. */
struct shim_end {
        uint32_t exit_code;
        int64_t finished_at; /* ns since 1970; 0 where it is not told */
};
struct shim_end shim_wait_answer(const struct shim_answer *answer);

#endif
