/*
 * setting: values of the TOML files that the machine keeps for all container tools.
 *
 * They are other people's files: what has the wrong type is INVALID_ARGUMENT with file, line and
 * key, but what we do not know is only told of, since another tool may need it. Any thread.
 */
#ifndef CRISP_IMAGE_SETTING_H
#define CRISP_IMAGE_SETTING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/toml.h"

#define SETTING_LIST_MAX 1024 /* strings in a list */

/* A string that has no zero byte in it, borrowed from the document. */
int setting_text(const struct toml_node *node, const char *file, const char **value,
                 struct error *err);
int setting_bool(const struct toml_node *node, const char *file, bool *value, struct error *err);
/* A list of strings, as a strv on the heap that is not null; *value is replaced. */
int setting_texts(const struct toml_node *node, const char *file, char ***value, struct error *err);
/* Fails unless node is of this kind. */
int setting_need(const struct toml_node *node, enum toml_kind kind, const char *file,
                 struct error *err);

/* INVALID_ARGUMENT "FILE:LINE: KEY: why". */
int setting_refuse(const struct toml_node *node, const char *file, struct error *err,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Logs that nobody here reads the key. */
void setting_unknown(const struct toml_node *node, const char *file);

#endif
