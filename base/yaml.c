#include "base/yaml.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/json.h"
#include "base/memory.h"

#define DIGITS_MAX 72 /* of a number: sign, prefix and 64 binary ones */

struct reader {
        yaml_parser_t parser;
        yaml_event_t event; /* the current one; see next_event */
        const char *place;
        unsigned depth;
        struct error *err;
};

static int wrong(const struct reader *reader, const char *what)
{
        return error_set(reader->err, ERROR_INVALID_ARGUMENT, "%s:%zu: %s", reader->place,
                         reader->event.start_mark.line + 1, what);
}

/* Gives the current event back and reads the next. */
static int next_event(struct reader *reader)
{
        yaml_event_delete(&reader->event);
        if (yaml_parser_parse(&reader->parser, &reader->event))
                return 0;
        return error_set(reader->err, ERROR_INVALID_ARGUMENT, "%s:%zu: not valid YAML: %s",
                         reader->place, reader->parser.problem_mark.line + 1,
                         reader->parser.problem ? reader->parser.problem : "it cannot be read");
}

/* ---- scalars ---- */

static bool is_one_of(const char *text, const char *const *words)
{
        for (; *words; words++)
                if (strcmp(text, *words) == 0)
                        return true;
        return false;
}

/* A whole number, or null where the text is none (or does not fit). */
static json_t *number(const char *text)
{
        char digits[DIGITS_MAX + 1];
        size_t count = 0;
        int base = 10;
        bool negative = *text == '-';
        const char *at = text + (*text == '-' || *text == '+');
        if (*at < '0' || *at > '9')
                return NULL;
        if (at[0] == '0' && at[1]) {
                char letter = at[1];
                base = letter == 'x' ? 16 : letter == 'b' ? 2 : 8;
                at += letter == 'x' || letter == 'b' || letter == 'o' ? 2 : 1;
                if (!*at)
                        return NULL;
        }
        if (negative)
                digits[count++] = '-';
        for (; *at; at++) {
                if (*at == '_')
                        continue;
                if (count == DIGITS_MAX || !strchr("0123456789abcdefABCDEF", *at))
                        return NULL;
                digits[count++] = *at;
        }
        digits[count] = '\0';
        char *end;
        errno = 0;
        long long value = strtoll(digits, &end, base);
        return errno || *end || end == digits ? NULL : json_integer(value);
}

static json_t *plain(const char *text)
{
        static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
        static const char *const trues[] = {"true", "True", "TRUE", NULL};
        static const char *const falses[] = {"false", "False", "FALSE", NULL};
        if (is_one_of(text, nulls))
                return json_null();
        if (is_one_of(text, trues))
                return json_true();
        if (is_one_of(text, falses))
                return json_false();
        json_t *value = number(text);
        return value ? value : json_string(text);
}

/* Whether the current scalar is text without a zero byte and without a tag that we do not know. */
static int check_scalar(const struct reader *reader)
{
        if (memchr(reader->event.data.scalar.value, '\0', reader->event.data.scalar.length))
                return wrong(reader, "a text has a zero byte");
        const char *tag = (const char *)reader->event.data.scalar.tag;
        if (tag && strcmp(tag, YAML_STR_TAG) != 0 && strcmp(tag, "!") != 0)
                return wrong(reader, "tags are not supported");
        return 0;
}

static int read_scalar(struct reader *reader, json_t **value)
{
        int result = check_scalar(reader);
        if (result < 0)
                return result;
        const char *text = (const char *)reader->event.data.scalar.value;
        bool is_plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
                        !reader->event.data.scalar.tag;
        *value = is_plain ? plain(text) : json_string(text);
        return *value ? 0 : wrong(reader, "a text is not UTF-8");
}

/* ---- collections ---- */

/* The current event's value; the event after it is not read. */
static int read_value(struct reader *reader, json_t **value);

static int read_sequence(struct reader *reader, json_t **value)
{
        AUTO_JSON json_t *array = json_array();
        for (;;) {
                json_t *item;
                int result = next_event(reader);
                if (result == 0 && reader->event.type == YAML_SEQUENCE_END_EVENT)
                        break;
                if (result == 0)
                        result = read_value(reader, &item);
                if (result < 0)
                        return result;
                json_array_append_new(array, item);
        }
        *value = json_incref(array);
        return 0;
}

static int read_member(struct reader *reader, json_t *object)
{
        if (reader->event.type != YAML_SCALAR_EVENT)
                return wrong(reader, "a key is no text");
        int result = check_scalar(reader);
        if (result < 0)
                return result;
        AUTO_FREE char *key = xstrdup((const char *)reader->event.data.scalar.value);
        if (json_object_get(object, key))
                return wrong(reader, "a key is there twice");
        json_t *value = NULL;
        result = next_event(reader);
        if (result == 0)
                result = read_value(reader, &value);
        if (result < 0)
                return result;
        return json_object_set_new(object, key, value) < 0 ? wrong(reader, "a key is not UTF-8")
                                                           : 0;
}

static int read_mapping(struct reader *reader, json_t **value)
{
        AUTO_JSON json_t *object = json_object();
        for (;;) {
                int result = next_event(reader);
                if (result == 0 && reader->event.type == YAML_MAPPING_END_EVENT)
                        break;
                if (result == 0)
                        result = read_member(reader, object);
                if (result < 0)
                        return result;
        }
        *value = json_incref(object);
        return 0;
}

static int read_value(struct reader *reader, json_t **value)
{
        const char *tag = NULL;
        if (reader->event.type == YAML_SCALAR_EVENT)
                return read_scalar(reader, value);
        if (reader->event.type == YAML_ALIAS_EVENT)
                return wrong(reader, "aliases are not supported");
        bool sequence = reader->event.type == YAML_SEQUENCE_START_EVENT;
        if (!sequence && reader->event.type != YAML_MAPPING_START_EVENT)
                return wrong(reader, "there is no value");
        tag = (const char *)(sequence ? reader->event.data.sequence_start.tag
                                      : reader->event.data.mapping_start.tag);
        if (tag)
                return wrong(reader, "tags are not supported");
        if (reader->depth == YAML_DEPTH_MAX)
                return wrong(reader, "nested too deeply");
        reader->depth++;
        int result = sequence ? read_sequence(reader, value) : read_mapping(reader, value);
        reader->depth--;
        return result;
}

/* ---- documents ---- */

static int expect(struct reader *reader, yaml_event_type_t type, const char *what)
{
        int result = next_event(reader);
        if (result == 0 && reader->event.type != type)
                result = wrong(reader, what);
        return result;
}

static int read_stream(struct reader *reader, json_t **value)
{
        AUTO_JSON json_t *found = NULL;
        int result = expect(reader, YAML_STREAM_START_EVENT, "no stream");
        if (result == 0)
                result = expect(reader, YAML_DOCUMENT_START_EVENT, "there is nothing in it");
        if (result == 0)
                result = next_event(reader);
        if (result == 0)
                result = read_value(reader, &found);
        if (result == 0)
                result = expect(reader, YAML_DOCUMENT_END_EVENT, "more than a document");
        if (result == 0)
                result = expect(reader, YAML_STREAM_END_EVENT, "more than one document");
        if (result == 0)
                *value = json_incref(found);
        return result;
}

int yaml_read(const char *bytes, size_t length, const char *place, json_t **value,
              struct error *err)
{
        struct reader reader = {.place = place, .err = err};
        if (!yaml_parser_initialize(&reader.parser))
                return error_errno(err, ENOMEM, "%s: read YAML", place);
        yaml_parser_set_input_string(&reader.parser, (const unsigned char *)bytes, length);
        int result = read_stream(&reader, value);
        yaml_event_delete(&reader.event);
        yaml_parser_delete(&reader.parser);
        return result;
}
