/*
 * config_load: what config.c (values, defaults, printing) and config_load.c (files, checking)
 * share. Nobody else includes it.
 */
#ifndef CRISP_CRI_CONFIG_LOAD_H
#define CRISP_CRI_CONFIG_LOAD_H

#include "cri/config.h"
#include "cri/config_machine.h"

enum config_type {
        CONFIG_NUMBER,         /* unsigned */
        CONFIG_PATHS,          /* char **, absolute paths */
        CONFIG_TEXTS,          /* char **, none of them empty */
        CONFIG_BOOL,           /* bool */
        CONFIG_PAIRS,          /* char **, keys and values in turn: a table */
        CONFIG_PLATFORM_PATHS, /* such pairs: "linux/amd64" and an absolute path */
        /* lists of texts with a form of their own, which config_check.c checks */
        CONFIG_ANNOTATIONS,
        CONFIG_DEVICES,
        CONFIG_VARIABLES,
        CONFIG_ULIMITS,
        CONFIG_POD_METRICS,
        CONFIG_COLLECTORS,
        CONFIG_DRIVER,        /* enum config_cgroup_driver */
        CONFIG_KIND,          /* enum config_handler_kind */
        CONFIG_LEVEL,         /* enum log_level */
        CONFIG_SYSCTLS,       /* char **, each "name=value" */
        CONFIG_IP_PREFERENCE, /* enum config_ip_preference */
        CONFIG_IMAGE_VOLUMES, /* enum config_image_volumes */
        CONFIG_CAPABILITIES,  /* char **, names of capabilities */
        /* all others are char * */
        CONFIG_PATH,
        CONFIG_PATH_OR_NONE, /* or empty */
        CONFIG_SOCKET,
        CONFIG_CGROUP,
        CONFIG_PULL_CGROUP, /* a path or a slice below the root, "pod", or empty */
        CONFIG_ADDRESS,
        CONFIG_ENDPOINT, /* ADDRESS:PORT, a socket's path, or empty */
        CONFIG_HANDLER_NAME,
        CONFIG_TEXT_OR_NONE, /* whatever it is */
        CONFIG_CPUS,         /* processors as "0-3,8", or empty */
        CONFIG_AFFINITY,     /* "first", or empty */
        CONFIG_ID_MAPS,      /* "CONTAINER:HOST:LENGTH,...", or empty */
        CONFIG_ID_RANGE,     /* "FIRST:LENGTH", or empty */
        CONFIG_TEXT,         /* any that is not empty */
        CONFIG_TIMEZONE,
        CONFIG_NAME, /* not empty, without spaces */
        CONFIG_OFF,  /* what this version does not support: empty */
};

/* What a type's values are in a file, and how a field holds them. */
enum config_form {
        CONFIG_FORM_NUMBER, /* unsigned */
        CONFIG_FORM_BOOL,   /* bool */
        CONFIG_FORM_LIST,   /* char ** */
        CONFIG_FORM_PAIRS,  /* char **, keys and values in turn */
        CONFIG_FORM_WORD,   /* an enumeration */
        CONFIG_FORM_TEXT,   /* char * */
};
enum config_form config_form(enum config_type type);

struct config_setting {
        const char *name; /* with the table's before it: "network.timeout" */
        enum config_type type;
        size_t offset;        /* in struct config, or in struct config_handler */
        unsigned least, most; /* of a number, or of the count in a list */
};

extern const struct config_setting config_settings[];
extern const size_t config_setting_count;
extern const struct config_setting config_handler_settings[];
extern const size_t config_handler_setting_count;

/* Of runtime.workloads.NAME, and of its table resources. */
extern const struct config_setting config_workload_settings[];
extern const size_t config_workload_setting_count;
extern const struct config_setting config_workload_resources[];
extern const size_t config_workload_resource_count;

/* Types whose values are words, in fields that are enumerations. The number of a word, and the
 * other way (-EINVAL for any other text); type must be one of them. */
const char *config_word(enum config_type type, unsigned number);
int config_word_parse(enum config_type type, const char *text, unsigned *number);
/* "none of mkdir, bind and ignore", on the heap. */
char *config_word_none(enum config_type type);

/* The workload of this name, which is added where it is not there. */
struct config_workload *config_workload_add(struct config *config, const char *name);

/* Defaults, but for what depends on other settings: those are null. */
struct config *config_new(const struct config_machine *machine);

/* Fills in what is null still. A handler's path stays null where it is neither set nor installed.
 */
void config_complete(struct config *config, const struct config_machine *machine);

/* config_load for a machine that has these things. */
int config_load_on(const struct config_machine *machine, const char *path, struct config **config,
                   struct error *err);

/* The setting that was most likely meant: by its whole name, or by its last part in a wrong table.
 */
const char *config_nearest(const struct config_setting *settings, size_t count, const char *path);

/* The table that was most likely meant; on the heap. */
char *config_nearest_table(const char *path);

/* Adds a handler of which nothing but the name is known. */
void config_handler_add(struct config *config, const char *name);

#endif
