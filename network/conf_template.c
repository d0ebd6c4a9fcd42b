#include "network/conf_template.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_SIZE 64
#define ACTION_MAX    256 /* bytes between {{ and }} */

/* What a place can name: a text, a list of texts, or the number of a round. */
struct value {
        const char *text;
        char *const *list;
        size_t number;
        bool is_number;
};

/* A variable, or the dot, inside the range that brings it. */
struct scope {
        char name[NAME_MAX_SIZE]; /* without $; "." for the dot */
        struct value value;
};

#define SCOPES_MAX (3 * CONF_TEMPLATE_DEPTH)

struct reader {
        const char *text;
        size_t length, at;
        const struct conf_template_values *values;
        struct scope scopes[SCOPES_MAX];
        size_t scope_count;
        unsigned depth, steps;
        struct buffer *out;
        struct error *err;
};

static void tell(const struct reader *reader, size_t at, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static void tell(const struct reader *reader, size_t at, const char *format, ...)
{
        unsigned line = 1;
        for (size_t i = 0; i < at && i < reader->length; i++)
                line += reader->text[i] == '\n';
        va_list arguments;
        va_start(arguments, format);
        error_vset(reader->err, ERROR_INVALID_ARGUMENT, format, arguments);
        va_end(arguments);
        error_context(reader->err, "line %u", line);
}

/* A macro, since clang's analyzer does not look into variadic functions and would not know that
 * this is negative. */
#define fail(...) (tell(__VA_ARGS__), -EINVAL)

/* ---- text and places ---- */

static bool is_space(char byte)
{
        return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static const char *find(const struct reader *reader, size_t from, const char *what)
{
        return from <= reader->length
                       ? memmem(reader->text + from, reader->length - from, what, strlen(what))
                       : NULL;
}

/* Writes the text up to the next place, and copies that place's words; *end is set where there is
 * none. Nothing is written while skipping. */
static int next_action(struct reader *reader, bool skip, char action[ACTION_MAX], bool *end)
{
        const char *open = find(reader, reader->at, "{{");
        size_t start = reader->at;
        size_t stop = open ? (size_t)(open - reader->text) : reader->length;
        size_t close_at = 0;
        *end = !open;
        if (open) {
                const char *close = find(reader, stop + 2, "}}");
                if (!close)
                        return fail(reader, stop, "{{ without }}");
                close_at = (size_t)(close - reader->text);
        }
        size_t text_end = stop, from = stop + 2, to = close_at;
        bool trims = open && from + 1 < to && reader->text[from] == '-' &&
                     is_space(reader->text[from + 1]);
        while (trims && text_end > start && is_space(reader->text[text_end - 1]))
                text_end--;
        if (!skip)
                buffer_add(reader->out, reader->text + start, text_end - start);
        if (reader->out->length > CONF_TEMPLATE_MAX)
                return fail(reader, stop, "what comes of it has more than %d bytes",
                            CONF_TEMPLATE_MAX);
        reader->at = reader->length;
        if (!open)
                return 0;
        from += trims;
        bool trims_after =
                to > from + 1 && reader->text[to - 1] == '-' && is_space(reader->text[to - 2]);
        to -= trims_after;
        while (from < to && is_space(reader->text[from]))
                from++;
        while (to > from && is_space(reader->text[to - 1]))
                to--;
        if (to - from >= ACTION_MAX)
                return fail(reader, stop, "a place of more than %d bytes", ACTION_MAX - 1);
        memcpy(action, reader->text + from, to - from);
        action[to - from] = '\0';
        reader->at = close_at + 2;
        while (trims_after && reader->at < reader->length && is_space(reader->text[reader->at]))
                reader->at++;
        return 0;
}

/* ---- values ---- */

static size_t name_length(const char *text)
{
        size_t length = 0;
        while (isalnum((unsigned char)text[length]) || text[length] == '_')
                length++;
        return length;
}

static int lookup(const struct reader *reader, const char *word, struct value *value)
{
        const struct conf_template_values *values = reader->values;
        *value = (struct value){0};
        if (strcmp(word, ".PodCIDR") == 0 || strcmp(word, "$.PodCIDR") == 0)
                value->text = values->ranges[0];
        else if (strcmp(word, ".PodCIDRRanges") == 0 || strcmp(word, "$.PodCIDRRanges") == 0)
                value->list = values->ranges;
        else if (strcmp(word, ".Routes") == 0 || strcmp(word, "$.Routes") == 0)
                value->list = values->routes;
        if (value->text || value->list)
                return 0;
        const char *name = *word == '$' ? word + 1 : word;
        for (size_t i = reader->scope_count; i-- > 0;)
                if ((*word == '$' || strcmp(word, ".") == 0) &&
                    strcmp(reader->scopes[i].name, name) == 0) {
                        *value = reader->scopes[i].value;
                        return 0;
                }
        return fail(reader, reader->at, "{{%s}} is not understood", word);
}

static void write_value(struct buffer *out, const struct value *value)
{
        if (value->is_number)
                buffer_printf(out, "%zu", value->number);
        else if (value->text)
                buffer_add_text(out, value->text);
        for (size_t i = 0; value->list && (i == 0 || value->list[i - 1]); i++) {
                /* As Go prints a list: [a b]. */
                const char *text = value->list[i];
                buffer_printf(out, "%s%s", i == 0 ? "[" : text ? " " : "", text ? text : "]");
        }
}

static bool is_true(const struct value *value)
{
        return value->is_number ? value->number != 0
               : value->list    ? value->list[0] != NULL
                                : value->text && *value->text;
}

/* ---- blocks ---- */

enum ending { AT_END_OF_TEXT, AT_END, AT_ELSE };

static int render_block(struct reader *reader, bool skip, enum ending *ending);

static int push(struct reader *reader, const char *name, struct value value)
{
        if (!*name)
                return 0;
        if (reader->scope_count == SCOPES_MAX)
                return fail(reader, reader->at, "too many variables");
        struct scope *scope = &reader->scopes[reader->scope_count++];
        snprintf(scope->name, sizeof scope->name, "%s", name);
        scope->value = value;
        return 0;
}

/* "$i, $v := .X", "$v := .X" or ".X"; empty names for what is not asked for. */
static int parse_range(const struct reader *reader, const char *words, char index[NAME_MAX_SIZE],
                       char item[NAME_MAX_SIZE], struct value *list)
{
        const char *assign = strstr(words, ":=");
        char names[2][NAME_MAX_SIZE] = {"", ""};
        unsigned count = 0;
        for (const char *at = words; assign && at < assign;) {
                while (is_space(*at) || *at == ',')
                        at++;
                if (at >= assign)
                        break;
                size_t length = *at == '$' ? name_length(at + 1) : 0;
                if (length == 0 || length >= NAME_MAX_SIZE || count == 2)
                        return fail(reader, reader->at, "{{range %s}} is not understood", words);
                memcpy(names[count], at + 1, length);
                names[count++][length] = '\0';
                at += 1 + length;
        }
        const char *word = assign ? assign + 2 : words;
        while (is_space(*word))
                word++;
        int result = lookup(reader, word, list);
        if (result < 0)
                return result;
        if (!list->list)
                return fail(reader, reader->at, "{{range %s}}: that is no list", words);
        snprintf(index, NAME_MAX_SIZE, "%s", count == 2 ? names[0] : "");
        snprintf(item, NAME_MAX_SIZE, "%s", count == 2 ? names[1] : names[0]);
        return 0;
}

static int expect_end(const struct reader *reader, enum ending ending)
{
        return ending == AT_END ? 0 : fail(reader, reader->at, "{{end}} is missing");
}

/* The block of a range or an if, then what {{else}} brings, of which one is written. */
static int render_branches(struct reader *reader, bool first, bool second)
{
        enum ending ending;
        int result = render_block(reader, !first, &ending);
        if (result == 0 && ending == AT_ELSE)
                result = render_block(reader, !second, &ending);
        return result < 0 ? result : expect_end(reader, ending);
}

static int render_range(struct reader *reader, bool skip, const char *words)
{
        char index[NAME_MAX_SIZE], item[NAME_MAX_SIZE];
        struct value list;
        size_t scopes = reader->scope_count, start = reader->at;
        int result = parse_range(reader, words, index, item, &list);
        if (result < 0)
                return result;
        size_t count = 0;
        while (list.list[count])
                count++;
        /* Nothing to go through, or nobody to see it: the block is read for its end, and its names.
         */
        if (skip || count == 0) {
                result = push(reader, index, (struct value){.is_number = true});
                if (result == 0)
                        result = push(reader, item, (struct value){.text = ""});
                if (result == 0)
                        result = push(reader, ".", (struct value){.text = ""});
                if (result == 0)
                        result = render_branches(reader, false, !skip);
                reader->scope_count = scopes;
                return result;
        }
        for (size_t i = 0; result == 0 && i < count; i++) {
                struct value text = {.text = list.list[i]};
                reader->at = start;
                result = push(reader, index, (struct value){.is_number = true, .number = i});
                if (result == 0)
                        result = push(reader, item, text);
                if (result == 0)
                        result = push(reader, ".", text);
                if (result == 0)
                        result = render_branches(reader, true, false);
                reader->scope_count = scopes;
        }
        return result;
}

static int render_if(struct reader *reader, bool skip, const char *words)
{
        struct value value;
        int result = lookup(reader, words, &value);
        return result < 0 ? result
                          : render_branches(reader, !skip && is_true(&value),
                                            !skip && !is_true(&value));
}

/* The words behind a keyword; null where it is another. */
static const char *after(const char *action, const char *keyword)
{
        size_t length = strlen(keyword);
        if (strncmp(action, keyword, length) != 0 || !is_space(action[length]))
                return NULL;
        action += length;
        while (is_space(*action))
                action++;
        return action;
}

static int render_action(struct reader *reader, bool skip, const char *action)
{
        const char *words;
        struct value value;
        if (++reader->steps > CONF_TEMPLATE_STEPS)
                return fail(reader, reader->at, "more than %d places are gone through",
                            CONF_TEMPLATE_STEPS);
        if (strncmp(action, "/*", 2) == 0)
                return 0;
        if ((words = after(action, "range")))
                return render_range(reader, skip, words);
        if ((words = after(action, "if")))
                return render_if(reader, skip, words);
        int result = lookup(reader, action, &value);
        if (result == 0 && !skip)
                write_value(reader->out, &value);
        return result;
}

static int render_block(struct reader *reader, bool skip, enum ending *ending)
{
        char action[ACTION_MAX];
        bool end;
        if (++reader->depth > CONF_TEMPLATE_DEPTH)
                return fail(reader, reader->at, "more than %d blocks in each other",
                            CONF_TEMPLATE_DEPTH);
        int result;
        while ((result = next_action(reader, skip, action, &end)) == 0 && !end) {
                if (strcmp(action, "end") == 0 || strcmp(action, "else") == 0) {
                        *ending = strcmp(action, "end") == 0 ? AT_END : AT_ELSE;
                        break;
                }
                result = render_action(reader, skip, action);
                if (result < 0)
                        break;
        }
        if (result == 0 && end)
                *ending = AT_END_OF_TEXT;
        reader->depth--;
        return result;
}

int conf_template_render(const char *text, size_t length, const struct conf_template_values *values,
                         struct buffer *out, struct error *err)
{
        struct reader reader = {
                .text = text, .length = length, .values = values, .out = out, .err = err};
        enum ending ending;
        if (length > CONF_TEMPLATE_MAX)
                return fail(&reader, 0, "more than %d bytes", CONF_TEMPLATE_MAX);
        int result = render_block(&reader, false, &ending);
        if (result == 0 && ending != AT_END_OF_TEXT)
                return fail(&reader, reader.at, "{{end}} or {{else}} without a block");
        return result;
}
