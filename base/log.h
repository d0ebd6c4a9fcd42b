/*
 * log: the one way to log (convention 19).
 *
 * A line on standard error: time, level, message, then fields. Foreign strings are escaped, so that
 * nobody writes lines of his own into our log. Any thread; a line is one write(2).
 *
 *     log_info("pod is running", "pod", id, "ip", ip, NULL);
 */
#ifndef CRISP_BASE_LOG_H
#define CRISP_BASE_LOG_H

#include "base/error.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

/* What is below this level is dropped. INFO at the start. */
void log_set_level(enum log_level level);
/* "debug", "info", "warning" or "error" to a level; -EINVAL for anything else. */
int log_level_parse(const char *name, enum log_level *level);

/* message, then pairs of field name and value (const char *, null is written as -), ended by NULL.
 */
void log_write(enum log_level level, const char *message, ...) __attribute__((sentinel));

#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

/* The same with err's text as field error=. */
void log_failure(const struct error *err, const char *message, ...) __attribute__((sentinel));

#endif
