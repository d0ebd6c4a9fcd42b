/* The forms of values; of those that can be one of some words, the words, by the number that stands
 * for each. */
#include <errno.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "cri/config_load.h"

/* Fields of these types are read and written as numbers. */
_Static_assert(sizeof(enum config_cgroup_driver) == sizeof(unsigned), "an enumeration's size");

static const struct words {
        enum config_type type;
        const char *const *words; /* ended by null */
} all_words[] = {
        {CONFIG_DRIVER,
         (const char *const[]){
                 [CONFIG_CGROUP_SYSTEMD] = "systemd", [CONFIG_CGROUP_CGROUPFS] = "cgroupfs", NULL}},
        {CONFIG_IMAGE_VOLUMES, (const char *const[]){[CONFIG_IMAGE_VOLUMES_MKDIR] = "mkdir",
                                                     [CONFIG_IMAGE_VOLUMES_BIND] = "bind",
                                                     [CONFIG_IMAGE_VOLUMES_IGNORE] = "ignore",
                                                     NULL}},
        {CONFIG_IP_PREFERENCE, (const char *const[]){[CONFIG_IP_AS_PLUGINS_SAY] = "cni",
                                                     [CONFIG_IP_V4_FIRST] = "ipv4",
                                                     [CONFIG_IP_V6_FIRST] = "ipv6",
                                                     NULL}},
        {CONFIG_KIND,
         (const char *const[]){[CONFIG_HANDLER_OCI] = "oci", [CONFIG_HANDLER_SHIM] = "shim", NULL}},
        {CONFIG_LEVEL, (const char *const[]){[LOG_LEVEL_DEBUG] = "debug",
                                             [LOG_LEVEL_INFO] = "info",
                                             [LOG_LEVEL_WARNING] = "warning",
                                             [LOG_LEVEL_ERROR] = "error",
                                             NULL}},
};

static const char *const *words_of(enum config_type type)
{
        for (size_t i = 0; i < sizeof all_words / sizeof *all_words; i++)
                if (all_words[i].type == type)
                        return all_words[i].words;
        return NULL;
}

enum config_form config_form(enum config_type type)
{
        switch (type) {
        case CONFIG_NUMBER:
                return CONFIG_FORM_NUMBER;
        case CONFIG_BOOL:
                return CONFIG_FORM_BOOL;
        case CONFIG_SYSCTLS:
        case CONFIG_PATHS:
        case CONFIG_TEXTS:
        case CONFIG_ANNOTATIONS:
        case CONFIG_POD_METRICS:
        case CONFIG_COLLECTORS:
        case CONFIG_DEVICES:
        case CONFIG_VARIABLES:
        case CONFIG_ULIMITS:
        case CONFIG_CAPABILITIES:
                return CONFIG_FORM_LIST;
        case CONFIG_PAIRS:
        case CONFIG_PLATFORM_PATHS:
                return CONFIG_FORM_PAIRS;
        case CONFIG_DRIVER:
        case CONFIG_IMAGE_VOLUMES:
        case CONFIG_IP_PREFERENCE:
        case CONFIG_KIND:
        case CONFIG_LEVEL:
                return CONFIG_FORM_WORD;
        /* No default: the compiler tells of a type that was forgotten. */
        case CONFIG_PATH:
        case CONFIG_PATH_OR_NONE:
        case CONFIG_SOCKET:
        case CONFIG_CGROUP:
        case CONFIG_PULL_CGROUP:
        case CONFIG_ADDRESS:
        case CONFIG_ENDPOINT:
        case CONFIG_HANDLER_NAME:
        case CONFIG_TEXT_OR_NONE:
        case CONFIG_CPUS:
        case CONFIG_AFFINITY:
        case CONFIG_ID_MAPS:
        case CONFIG_ID_RANGE:
        case CONFIG_TEXT:
        case CONFIG_TIMEZONE:
        case CONFIG_NAME:
        case CONFIG_OFF:
                break;
        }
        return CONFIG_FORM_TEXT;
}

const char *config_word(enum config_type type, unsigned number)
{
        return words_of(type)[number];
}

int config_word_parse(enum config_type type, const char *text, unsigned *number)
{
        const char *const *words = words_of(type);

        for (unsigned i = 0; words[i]; i++)
                if (strcmp(text, words[i]) == 0) {
                        *number = i;
                        return 0;
                }
        return -EINVAL;
}

char *config_word_none(enum config_type type)
{
        struct buffer text = BUFFER_INIT;
        const char *const *words = words_of(type);

        if (words[1] && !words[2])
                return xprintf("neither %s nor %s", words[0], words[1]);
        buffer_add_text(&text, "none of ");
        for (size_t i = 0; words[i]; i++)
                buffer_printf(&text, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " and ", words[i]);
        return buffer_take(&text);
}

const char *config_cgroup_driver_name(enum config_cgroup_driver driver)
{
        return config_word(CONFIG_DRIVER, driver);
}
