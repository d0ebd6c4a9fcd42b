/*
 * cli: what crisp's commands that ask the daemon have in common, and their names for main().
 *
 * Each takes the arguments after its name, ended by null, and returns the exit code: 0, 1 when
 * something failed, 2 for a command line that is not understood. They block.
 */
#ifndef CRISP_CLI_CLI_H
#define CRISP_CLI_CLI_H

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "api/crisp/v1/crisp.pb-c.h"
#include "base/buffer.h"
#include "base/error.h"
#include "cli/client.h"
#include "cli/options.h"

/* ---- the commands ---- */

int cli_images(char *const *arguments);
int cli_explain(char *const *arguments);
int cli_metrics(char *const *arguments);
int cli_inspect(char *const *arguments);
int cli_verify(char *const *arguments);
int cli_pause(char *const *arguments);
int cli_unpause(char *const *arguments);

/* Those of images. */
int images_list(char *const *arguments);
int images_pull(char *const *arguments);
int images_remove(char *const *arguments);
int images_inspect(char *const *arguments);
int images_load(char *const *arguments);
int images_save(char *const *arguments);
int images_check(char *const *arguments);
int images_verify(char *const *arguments);
int images_repair(char *const *arguments);

/* ---- what they share ---- */

/* Room for the words of these arguments (options_read); the caller frees it. */
const char **cli_words(char *const *arguments);

/* Connects to the daemon that the options name. */
int cli_connect(const struct options_common *options, struct client **client, struct error *err);

/* Tells an error on standard error; the exit code. */
int cli_failed(const struct error *err);

/* A finding as a line: "FAIL     OBJECT: WHAT: TEXT". */
void cli_add_finding(const Crisp__V1__Finding *finding, struct buffer *out);

/* JSON text on lines of their own, indented. Adds a line feed. */
void cli_indent(const char *json, struct buffer *out);

/* Prints text on standard output and sees that it has arrived; the exit code. */
int cli_print(const struct buffer *text);

/* The columns of standard output's terminal; 0 where it is none. */
size_t cli_width(void);

/* A message as JSON, with the field names of protobuf's own mapping; 64-bit numbers are numbers.
 * Adds a line feed. */
void cli_json(const ProtobufCMessage *message, struct buffer *out);

#endif
