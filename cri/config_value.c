#include "cri/config_value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "cri/config_check.h"
#include "network/namespace.h"

/* "FILE:LINE: network.timeout: message" */
void config_tell(const struct loader *loader, const struct toml_node *node, const char *format, ...)
{
        AUTO_BUFFER struct buffer path = BUFFER_INIT;
        va_list arguments;

        toml_add_path(&path, node);
        va_start(arguments, format);
        error_vset(loader->err, ERROR_INVALID_ARGUMENT, format, arguments);
        va_end(arguments);
        error_context(loader->err, "%s:%u: %s", loader->file, node->line, path.data);
}

int config_wrong_kind(const struct loader *loader, const struct toml_node *node,
                      const char *expected)
{
        return fail(loader, node, "expected %s, found %s", expected, toml_kind_name(node->kind));
}

/* Stores the node's text, borrowed from it. */
static int get_string(const struct loader *loader, const struct toml_node *node, const char **text)
{
        if (node->kind != TOML_STRING)
                return config_wrong_kind(loader, node, "a string");
        if (strlen(json_string_value(node->value)) != json_string_length(node->value))
                return fail(loader, node, "must not contain a zero byte");
        *text = json_string_value(node->value);
        return 0;
}

static int check_path(const struct loader *loader, const struct toml_node *node, const char *text)
{
        if (text[0] != '/')
                return fail(loader, node, "\"%s\" is not an absolute path", text);
        if (strlen(text) >= PATH_MAX)
                return fail(loader, node, "a path has at most %d bytes", PATH_MAX - 1);
        for (const char *at = strstr(text, "/.."); at; at = strstr(at + 1, "/.."))
                if (at[3] == '\0' || at[3] == '/')
                        return fail(loader, node, "\"%s\" must not contain ..", text);
        return 0;
}

bool config_is_handler_name(const char *text)
{
        size_t length = strlen(text);

        if (length == 0 || length > CONFIG_HANDLER_NAME_MAX || text[0] == '-' ||
            text[length - 1] == '-')
                return false;
        return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

static bool is_address(const char *text)
{
        struct in6_addr ignored;

        return inet_pton(AF_INET, text, &ignored) == 1 || inet_pton(AF_INET6, text, &ignored) == 1;
}

static int check_text(const struct loader *loader, const struct toml_node *node,
                      enum config_type type, const char *text)
{
        const char *wrong;

        switch (type) {
        case CONFIG_ENDPOINT:
        case CONFIG_CPUS:
        case CONFIG_AFFINITY:
        case CONFIG_PULL_CGROUP:
        case CONFIG_ID_MAPS:
        case CONFIG_ID_RANGE:
        case CONFIG_TEXT:
        case CONFIG_TIMEZONE:
        case CONFIG_NAME:
                wrong = config_check_item(type, text);
                return wrong ? fail(loader, node, "\"%s\" %s", text, wrong) : 0;
        case CONFIG_SOCKET:
                if (strncmp(text, "unix:", 5) == 0)
                        return fail(loader, node, "give the socket's path without unix://");
                if (strlen(text) > CONFIG_SOCKET_PATH_MAX)
                        return fail(loader, node, "a socket's path has at most %d bytes",
                                    CONFIG_SOCKET_PATH_MAX);
                return check_path(loader, node, text);
        case CONFIG_CGROUP:
                if (strcmp(text, "/") == 0)
                        return fail(loader, node, "cannot be the root cgroup");
                return check_path(loader, node, text);
        case CONFIG_ADDRESS:
                if (!is_address(text))
                        return fail(loader, node, "\"%s\" is no IPv4 or IPv6 address", text);
                return 0;
        case CONFIG_HANDLER_NAME:
                if (!config_is_handler_name(text))
                        return fail(loader, node,
                                    "\"%s\" is no handler's name: 1 to %d of a-z, 0-9 and -, with "
                                    "no - at either end",
                                    text, CONFIG_HANDLER_NAME_MAX);
                return 0;
        case CONFIG_TEXT_OR_NONE:
                return 0;
        case CONFIG_PATH_OR_NONE:
                return *text ? check_path(loader, node, text) : 0;
        case CONFIG_OFF:
                if (*text)
                        return fail(loader, node,
                                    "not supported yet in this version: must be "
                                    "empty");
                return 0;
        default:
                return check_path(loader, node, text);
        }
}

/* A copy without slashes at its end. */
static char *copy_path(const char *text)
{
        size_t length = strlen(text);

        while (length > 1 && text[length - 1] == '/')
                length--;
        return xstrndup(text, length);
}

static int apply_text(const struct loader *loader, const struct toml_node *node,
                      enum config_type type, char **field)
{
        const char *text;
        int rc = get_string(loader, node, &text);

        if (rc < 0)
                return rc;
        rc = check_text(loader, node, type, text);
        if (rc < 0)
                return rc;
        free(*field);
        *field = type == CONFIG_TEXT_OR_NONE ? xstrdup(text) : copy_path(text);
        return 0;
}

/* Of which namespace it is decides, pod by pod, whether it is set there; of none it never is. */
static int check_sysctl(const struct loader *loader, const struct toml_node *node, const char *text)
{
        const char *equals = strchr(text, '=');
        struct error reason = {0};

        if (!equals || equals == text || equals[-1] == ' ' || equals[1] == ' ')
                return fail(loader, node, "\"%s\" is not name=value", text);
        AUTO_FREE char *name = xstrndup(text, (size_t)(equals - text));
        if (namespace_check_sysctl(name, true, true, &reason) < 0)
                return fail(loader, node, "%s", reason.message);
        return 0;
}

static int check_item(const struct loader *loader, const struct toml_node *item,
                      enum config_type type, const char *text)
{
        const char *wrong;

        if (type == CONFIG_PATHS)
                return check_path(loader, item, text);
        if (type == CONFIG_SYSCTLS)
                return check_sysctl(loader, item, text);
        wrong = *text ? config_check_item(type, text) : NULL;
        if (wrong)
                return fail(loader, item, "\"%s\" %s", text, wrong);
        return *text ? 0 : fail(loader, item, "must not be empty");
}

static int apply_list(const struct loader *loader, const struct toml_node *node,
                      const struct config_setting *setting, char ***field)
{
        char **texts = xcalloc(1, sizeof(*texts)); /* none is a list, too */
        size_t count = 0;
        int rc = 0;

        if (node->kind != TOML_ARRAY)
                rc = config_wrong_kind(loader, node, "an array of strings");
        for (const struct toml_node *item = node->first; item && rc == 0; item = item->next) {
                const char *text;

                if (++count > setting->most)
                        break;
                rc = get_string(loader, item, &text);
                if (rc == 0)
                        rc = check_item(loader, item, setting->type, text);
                if (rc == 0) {
                        AUTO_FREE char *copy =
                                setting->type == CONFIG_PATHS ? copy_path(text) : xstrdup(text);

                        strv_push(&texts, copy);
                }
        }
        if (rc == 0 && (count < setting->least || count > setting->most))
                rc = fail(loader, node, "expected %u to %u %s", setting->least, setting->most,
                          setting->type == CONFIG_PATHS ? "paths" : "strings");
        if (rc < 0) {
                strv_free(texts);
                return rc;
        }
        strv_free(*field);
        *field = texts;
        return 0;
}

static int check_platform(const struct loader *loader, const struct toml_node *item,
                          const char *text)
{
        const char *slash = strchr(item->key, '/');

        if (!slash || slash == item->key || !slash[1])
                return fail(loader, item, "\"%s\" is no platform, such as linux/arm64", item->key);
        return check_path(loader, item, text);
}

static int apply_pairs(const struct loader *loader, const struct toml_node *node,
                       const struct config_setting *setting, char ***field)
{
        char **pairs = xcalloc(1, sizeof(*pairs));
        unsigned count = 0;
        int rc = 0;

        if (node->kind != TOML_TABLE)
                rc = config_wrong_kind(loader, node, "a table");
        for (const struct toml_node *item = node->first; item && rc == 0; item = item->next) {
                const char *text;

                rc = get_string(loader, item, &text);
                if (rc == 0 && ++count > setting->most)
                        rc = fail(loader, node, "more than %u entries", setting->most);
                if (rc == 0 && strlen(item->key) != item->key_length)
                        rc = fail(loader, item, "must not contain a zero byte");
                if (rc == 0 && setting->type == CONFIG_PLATFORM_PATHS)
                        rc = check_platform(loader, item, text);
                if (rc == 0) {
                        strv_push(&pairs, item->key);
                        strv_push(&pairs, text);
                }
        }
        if (rc < 0) {
                strv_free(pairs);
                return rc;
        }
        strv_free(*field);
        *field = pairs;
        return 0;
}

static int apply_bool(const struct loader *loader, const struct toml_node *node, bool *field)
{
        if (node->kind != TOML_BOOLEAN)
                return config_wrong_kind(loader, node, "a boolean");
        *field = json_is_true(node->value);
        return 0;
}

static int apply_number(const struct loader *loader, const struct toml_node *node,
                        const struct config_setting *setting, unsigned *field)
{
        json_int_t number;

        if (node->kind != TOML_INTEGER)
                return config_wrong_kind(loader, node, "an integer");
        number = json_integer_value(node->value);
        if (number < setting->least || number > setting->most)
                return fail(loader, node, "%lld is not between %u and %u", number, setting->least,
                            setting->most);
        *field = (unsigned)number;
        return 0;
}

static int apply_word(const struct loader *loader, const struct toml_node *node,
                      enum config_type type, unsigned *field)
{
        const char *text;
        int rc = get_string(loader, node, &text);

        if (rc < 0)
                return rc;
        if (config_word_parse(type, text, field) == 0)
                return 0;
        AUTO_FREE char *words = config_word_none(type);
        return fail(loader, node, "\"%s\" is %s", text, words);
}

int config_apply_value(const struct loader *loader, const struct toml_node *node,
                       const struct config_setting *setting, void *object)
{
        void *field = (char *)object + setting->offset;

        switch (config_form(setting->type)) {
        case CONFIG_FORM_NUMBER:
                return apply_number(loader, node, setting, field);
        case CONFIG_FORM_BOOL:
                return apply_bool(loader, node, field);
        case CONFIG_FORM_LIST:
                return apply_list(loader, node, setting, field);
        case CONFIG_FORM_PAIRS:
                return apply_pairs(loader, node, setting, field);
        case CONFIG_FORM_WORD:
                return apply_word(loader, node, setting->type, field);
        default:
                return apply_text(loader, node, setting->type, field);
        }
}
