/*
 * terminal: what is at the other end of a descriptor.
 */
#ifndef CRISP_CLI_TERMINAL_H
#define CRISP_CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define TERMINAL_SECRET_MAX 4096 /* bytes of a password */

/* Whether fd is a terminal that draws: TERM=dumb is none. */
bool terminal_is(int fd);

/* Columns and rows, as the terminal is now; 80 and 24 where it does not say. */
void terminal_size(int fd, size_t *columns, size_t *rows);

/*
 * Asks on the controlling terminal for a line, without showing what is typed, and adds it to
 * secret, which the caller wipes. Signals that end the process put the terminal right first.
 * FAILED_PRECONDITION where there is no terminal.
 */
int terminal_ask_secret(const char *prompt, struct buffer *secret, struct error *err);

/* Reads a line of fd, as from a pipe, into secret, without its end. */
int terminal_read_secret(int fd, struct buffer *secret, struct error *err);

#endif
