/*
 * options: the command line of a command.
 *
 * Options may stand before and after what is no option; "--" ends them. What is wrong is told on
 * standard error.
 */
#ifndef CRISP_CLI_OPTIONS_H
#define CRISP_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#define OPTIONS_EXIT_USAGE 2

struct option {
        const char *name;   /* "--json" */
        const char *letter; /* "-q", or null */
        const char *needs;  /* "a file", of one with a value; else null */
        const char **value; /* null until given: an option is given once */
        bool *flag;         /* of one without a value */
};

/* What every command that asks the daemon takes. */
struct options_common {
        const char *socket;
        const char *config;
        bool json;
};
#define OPTIONS_SOCKET(common)                                                                     \
        {.name = "--socket", .needs = "a path", .value = &(common).socket},                        \
        {                                                                                          \
                .name = "--config", .needs = "a file", .value = &(common).config                   \
        }
#define OPTIONS_JSON(common)                                                                       \
        {                                                                                          \
                .name = "--json", .flag = &(common).json                                           \
        }

/*
 * Reads arguments, which end with null. What is no option goes to words, in order, ended by null;
 * words has room for as many as there are arguments, and null. Returns 0 or, after telling,
 * OPTIONS_EXIT_USAGE. Options end with one without a name.
 */
int options_read(char *const *arguments, const struct option *options, const char **words);

/* Tells what is wrong with a command line; returns OPTIONS_EXIT_USAGE. */
int options_wrong(const char *what, const char *argument);

#endif
