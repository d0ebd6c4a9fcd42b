/*
 * config_value: one value of a configuration file, checked and stored. For config_load.c alone.
 */
#ifndef CRISP_CRI_CONFIG_VALUE_H
#define CRISP_CRI_CONFIG_VALUE_H

#include <errno.h>

#include "base/table.h"
#include "base/toml.h"
#include "cri/config_load.h"

struct loader {
        struct config *config;
        const char *file; /* the one that is applied now */
        struct table
                *places; /* "FILE:LINE" on the heap, for handlers by name; "" for default_handler */
        struct error *err;
};

/* Fills the loader's error: "FILE:LINE: network.timeout: message". */
void config_tell(const struct loader *loader, const struct toml_node *node, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* A macro, since clang's analyzer does not look into variadic functions and would not know that
 * this is negative. */
#define fail(...) (config_tell(__VA_ARGS__), -EINVAL)

/* "expected EXPECTED, found an integer"; -EINVAL. */
int config_wrong_kind(const struct loader *loader, const struct toml_node *node,
                      const char *expected);

/* Whether it is a DNS label, as names of RuntimeClass handlers are. */
bool config_is_handler_name(const char *text);

/* Stores the node's value in the setting's field of object; -EINVAL after telling what is wrong. */
int config_apply_value(const struct loader *loader, const struct toml_node *node,
                       const struct config_setting *setting, void *object);

#endif
