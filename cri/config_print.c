/* The whole configuration as TOML. */
#include <string.h>

#include "base/buffer.h"
#include "base/toml.h"
#include "cri/config_load.h"

static void add_pairs(struct buffer *out, char *const *pairs)
{
        buffer_add_text(out, "{");
        for (size_t i = 0; pairs && pairs[i]; i += 2) {
                buffer_add_text(out, i > 0 ? ", " : "");
                toml_add_string(out, pairs[i]);
                buffer_add_text(out, " = ");
                toml_add_string(out, pairs[i + 1]);
        }
        buffer_add_text(out, "}");
}

static void add_list(struct buffer *out, char *const *texts)
{
        buffer_add_text(out, "[");
        for (size_t i = 0; texts && texts[i]; i++) {
                buffer_add_text(out, i > 0 ? ", " : "");
                toml_add_string(out, texts[i]);
        }
        buffer_add_text(out, "]");
}

static void add_value(struct buffer *out, const struct config_setting *setting, const void *object)
{
        const void *field = (const char *)object + setting->offset;

        switch (config_form(setting->type)) {
        case CONFIG_FORM_NUMBER:
                buffer_printf(out, "%u", *(const unsigned *)field);
                break;
        case CONFIG_FORM_BOOL:
                buffer_add_text(out, *(const bool *)field ? "true" : "false");
                break;
        case CONFIG_FORM_LIST:
                add_list(out, *(char *const *const *)field);
                break;
        case CONFIG_FORM_PAIRS:
                add_pairs(out, *(char *const *const *)field);
                break;
        case CONFIG_FORM_WORD:
                toml_add_string(out, config_word(setting->type, *(const unsigned *)field));
                break;
        case CONFIG_FORM_TEXT:
                toml_add_string(out, *(const char *const *)field);
                break;
        }
}

static void add_handlers(struct buffer *out, const struct config *config)
{
        for (size_t i = 0; i < config->runtime.handler_count; i++) {
                const struct config_handler *handler = &config->runtime.handlers[i];

                /* a name is made of characters that need no quotes in a key */
                buffer_printf(out, "\n[runtime.handlers.%s]\n", handler->name);
                for (size_t k = 0; k < config_handler_setting_count; k++) {
                        buffer_printf(out, "%s = ", config_handler_settings[k].name);
                        add_value(out, &config_handler_settings[k], handler);
                        buffer_add_text(out, "\n");
                }
        }
}

static void add_settings(struct buffer *out, const struct config_setting *settings, size_t count,
                         const void *object)
{
        for (size_t i = 0; i < count; i++) {
                buffer_printf(out, "%s = ", settings[i].name);
                add_value(out, &settings[i], object);
                buffer_add_text(out, "\n");
        }
}

static void add_workloads(struct buffer *out, const struct config *config)
{
        for (size_t i = 0; i < config->runtime.workload_count; i++) {
                const struct config_workload *workload = &config->runtime.workloads[i];

                buffer_printf(out, "\n[runtime.workloads.%s]\n", workload->name);
                /* not set is not there: it must not be empty where it is */
                add_settings(out, config_workload_settings, 1, workload);
                if (*workload->annotation_prefix)
                        add_settings(out, config_workload_settings + 1, 1, workload);
                add_settings(out, config_workload_settings + 2, 1, workload);
                buffer_printf(out, "\n[runtime.workloads.%s.resources]\n", workload->name);
                add_settings(out, config_workload_resources, config_workload_resource_count,
                             workload);
        }
}

void config_print(const struct config *config, FILE *out)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        size_t table_length = 0; /* of the name of the table that the last setting stood in */

        for (size_t i = 0; i < config_setting_count; i++) {
                const struct config_setting *setting = &config_settings[i];
                const char *dot = strchr(setting->name, '.');
                size_t length = dot ? (size_t)(dot - setting->name) : 0;

                if (length > 0 && (length != table_length ||
                                   memcmp(setting->name, setting[-1].name, length + 1) != 0)) {
                        if (strncmp(setting[-1].name, "runtime.", 8) == 0) {
                                add_handlers(&text, config);
                                add_workloads(&text, config);
                        }
                        buffer_printf(&text, "\n[%.*s]\n", (int)length, setting->name);
                }
                table_length = length;
                buffer_printf(&text, "%s = ", dot ? dot + 1 : setting->name);
                add_value(&text, setting, config);
                buffer_add_text(&text, "\n");
        }
        fwrite(text.data, 1, text.length, out);
}
