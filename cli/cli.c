#include "cli/cli.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "cri/config.h"

#define SOCKET_SCHEME     "unix://"
#define JSON_INDENT_WIDTH 2

const char **cli_words(char *const *arguments)
{
        return xcalloc(strv_length(arguments) + 1, sizeof(char *));
}

static const char *without_scheme(const char *path)
{
        size_t length = strlen(SOCKET_SCHEME);

        return strncmp(path, SOCKET_SCHEME, length) == 0 ? path + length : path;
}

int cli_connect(const struct options_common *options, struct client **client, struct error *err)
{
        AUTO_CONFIG struct config *config = NULL;

        if (options->socket)
                return client_open(without_scheme(options->socket), client, err);
        int result = config_load(options->config, &config, err);
        if (result < 0)
                return result;
        return client_open(without_scheme(config->api.listen), client, err);
}

int cli_failed(const struct error *err)
{
        AUTO_BUFFER struct buffer clean = BUFFER_INIT;
        char text[ERROR_WORD_MAX + ERROR_MESSAGE_MAX + sizeof ": "];

        error_render(err, text, sizeof text);
        text_clean(&clean, text);
        fprintf(stderr, "crisp: %s\n", clean.data ? clean.data : "");
        return EXIT_FAILURE;
}

int cli_print(const struct buffer *text)
{
        if (text->length)
                fwrite(text->data, 1, text->length, stdout);
        if (fflush(stdout) == 0 && !ferror(stdout))
                return EXIT_SUCCESS;
        perror("crisp: write to standard output");
        return EXIT_FAILURE;
}

size_t cli_width(void)
{
        size_t columns, rows;

        if (!terminal_is(STDOUT_FILENO))
                return 0;
        terminal_size(STDOUT_FILENO, &columns, &rows);
        return columns;
}

/* ---- messages as JSON ---- */

static json_t *message_value(const ProtobufCMessage *message);

/* The value at member, of a field's type. */
static json_t *field_value(const ProtobufCFieldDescriptor *field, const void *member)
{
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING: {
                const char *text = *(char *const *)member;
                json_t *value = json_string(text ? text : "");
                return value ? value : json_string("");
        }
        case PROTOBUF_C_TYPE_MESSAGE:
                return message_value(*(ProtobufCMessage *const *)member);
        case PROTOBUF_C_TYPE_BOOL:
                return json_boolean(*(const protobuf_c_boolean *)member);
        case PROTOBUF_C_TYPE_ENUM: {
                const ProtobufCEnumDescriptor *names = field->descriptor;
                int number = *(const int *)member;
                const ProtobufCEnumValue *value =
                        protobuf_c_enum_descriptor_get_value(names, number);
                return value ? json_string(value->name) : json_integer(number);
        }
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_UINT64:
                return json_integer((json_int_t) * (const int64_t *)member);
        case PROTOBUF_C_TYPE_UINT32:
                return json_integer(*(const uint32_t *)member);
        case PROTOBUF_C_TYPE_INT32:
                return json_integer(*(const int32_t *)member);
        default:
                return json_null(); /* crisp.v1 has no others */
        }
}

/* "pulled_at" is "pulledAt" in JSON. */
static void json_name(char out[64], const char *name)
{
        size_t length = 0;

        for (; *name && length < 63; name++)
                if (*name == '_' && name[1])
                        out[length++] = (char)toupper((unsigned char)*++name);
                else
                        out[length++] = *name;
        out[length] = '\0';
}

static size_t field_size(const ProtobufCFieldDescriptor *field)
{
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_MESSAGE:
                return sizeof(void *);
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_UINT64:
                return sizeof(int64_t);
        default:
                return sizeof(int32_t);
        }
}

static json_t *message_value(const ProtobufCMessage *message)
{
        if (!message)
                return json_null();
        json_t *object = json_object();
        for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
                const char *member = (const char *)message + field->offset;
                char name[64];
                json_name(name, field->name);
                if (field->label != PROTOBUF_C_LABEL_REPEATED) {
                        json_object_set_new(object, name, field_value(field, member));
                        continue;
                }
                json_t *list = json_array();
                size_t count = *(const size_t *)(const void *)((const char *)message +
                                                               field->quantifier_offset);
                const char *elements = *(const char *const *)(const void *)member;
                for (size_t k = 0; k < count; k++)
                        json_array_append_new(list,
                                              field_value(field, elements + k * field_size(field)));
                json_object_set_new(object, name, list);
        }
        return object;
}

void cli_json(const ProtobufCMessage *message, struct buffer *out)
{
        AUTO_JSON json_t *value = message_value(message);
        AUTO_FREE char *text = json_dumps(value, JSON_INDENT(JSON_INDENT_WIDTH));

        buffer_add_text(out, text);
        buffer_add_text(out, "\n");
}

static const char *verdict_name(Crisp__V1__FindingVerdict verdict)
{
        switch (verdict) {
        case CRISP__V1__FINDING_VERDICT__FINDING_PASS:
                return "pass";
        case CRISP__V1__FINDING_VERDICT__FINDING_WARNING:
                return "warning";
        case CRISP__V1__FINDING_VERDICT__FINDING_FAIL:
                return "FAIL";
        default:
                return "unknown";
        }
}

void cli_add_finding(const Crisp__V1__Finding *finding, struct buffer *out)
{
        buffer_printf(out, "%-7s  ", verdict_name(finding->verdict));
        text_clean(out, finding->object);
        buffer_add_text(out, *finding->object ? ": " : "");
        text_clean(out, finding->what);
        if (*finding->text) {
                buffer_add_text(out, ": ");
                text_clean(out, finding->text);
        }
        buffer_add_text(out, "\n");
}

/* The same JSON, indented; as it came where it is none. */
void cli_indent(const char *text, struct buffer *out)
{
        AUTO_JSON json_t *value = json_loads(text, 0, NULL);
        AUTO_FREE char *indented = value ? json_dumps(value, JSON_INDENT(JSON_INDENT_WIDTH)) : NULL;

        buffer_add_text(out, indented ? indented : text);
        buffer_add_text(out, "\n");
}
