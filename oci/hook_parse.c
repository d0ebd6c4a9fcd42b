/* A hook's file as a structure, and whether its conditions hold. */
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "oci/hook_private.h"

struct parser {
        const char *path;
        struct arena *arena;
        struct hook_file *file;
        struct error *err;
};

static int wrong(const struct parser *parser, const char *what, const char *more)
{
        return error_set(parser->err, ERROR_INVALID_ARGUMENT, "%s: %s%.200s", parser->path, what,
                         more);
}

static int check_pattern(const struct parser *parser, const char *pattern)
{
        int result = hook_pattern_matches(pattern, "", parser->err);
        return result < 0 ? error_context(parser->err, "%s", parser->path) : 0;
}

/* A null-terminated vector in the arena; null where it is missing. */
static int get_list(const struct parser *parser, const json_t *object, const char *key,
                    const char ***list, size_t *count)
{
        char **texts = NULL;
        int result = json_get_strings(object, key, parser->path, &texts, parser->err);
        if (result < 0)
                return result;
        size_t length = strv_length(texts);
        const char **copy = texts ? arena_array(parser->arena, length + 1, sizeof *copy) : NULL;
        for (size_t i = 0; copy && i < length; i++)
                copy[i] = arena_strdup(parser->arena, texts[i]);
        strv_free(texts);
        *list = copy;
        if (count)
                *count = length;
        return 0;
}

/* The same under one of two names. */
static int get_either(const struct parser *parser, const json_t *object, const char *key,
                      const char *other, const char ***list, size_t *count)
{
        if (json_object_get(object, key) && json_object_get(object, other))
                return wrong(parser, "both of one thing's names are there: ", key);
        return get_list(parser, object, json_object_get(object, key) ? key : other, list, count);
}

static int get_flag(const struct parser *parser, const json_t *object, const char *key, bool *has,
                    bool *flag)
{
        const json_t *value = json_object_get(object, key);
        *has = value && !json_is_null(value);
        return json_get_bool(object, key, parser->path, flag, parser->err);
}

static int set_path(const struct parser *parser, const json_t *object, const char *key)
{
        const char *path = NULL;
        int result = json_get_string(object, key, parser->path, &path, parser->err);
        if (result < 0)
                return result;
        if (!path || *path != '/')
                return wrong(parser, "there is no absolute path of a hook in ", key);
        parser->file->hook.path = arena_strdup(parser->arena, path);
        return 0;
}

static int set_stages(const struct parser *parser, const char **stages)
{
        if (!stages)
                return wrong(parser, "there are no ", "stages");
        for (; *stages; stages++) {
                enum spec_hook_stage stage = spec_hook_stage_of(*stages);
                if (stage == SPEC_HOOK_STAGES)
                        return wrong(parser, "no such stage: ", *stages);
                parser->file->stages[stage] = true;
        }
        return 0;
}

static int check_commands(const struct parser *parser)
{
        const char **commands = parser->file->commands;
        for (size_t i = 0; commands && i < parser->file->command_count; i++) {
                int result = check_pattern(parser, commands[i]);
                if (result < 0)
                        return result;
        }
        return 0;
}

/* ---- 1.0.0 ---- */

static int parse_hook(const struct parser *parser, const json_t *object)
{
        struct spec_hook *hook = &parser->file->hook;
        const char **args = NULL, **env = NULL;
        int result = set_path(parser, object, "path");
        if (result == 0)
                result = get_list(parser, object, "args", &args, NULL);
        if (result == 0)
                result = get_list(parser, object, "env", &env, NULL);
        if (result == 0)
                result = json_get_int(object, "timeout", parser->path, &hook->timeout, parser->err);
        if (result == 0 && (hook->timeout < 0 || hook->timeout > INT32_MAX))
                result = wrong(parser, "hook: ", "timeout is out of range");
        hook->args = args;
        hook->env = env;
        return result;
}

static int parse_annotations(const struct parser *parser, const json_t *when)
{
        struct hook_file *file = parser->file;
        json_t *object = NULL, *value;
        const char *key;
        int result = json_get_object(when, "annotations", parser->path, &object, parser->err);
        if (result < 0 || !object)
                return result;
        file->annotations =
                arena_array(parser->arena, json_object_size(object) + 1, sizeof(struct spec_pair));
        json_object_foreach (object, key, value) {
                if (!json_is_string(value))
                        return wrong(parser, "expected text for the annotation ", key);
                struct spec_pair *pair = &file->annotations[file->annotation_count++];
                pair->key = arena_strdup(parser->arena, key);
                pair->value = arena_strdup(parser->arena, json_string_value(value));
                result = check_pattern(parser, pair->key);
                if (result == 0)
                        result = check_pattern(parser, pair->value);
                if (result < 0)
                        return result;
        }
        return 0;
}

static int parse_when(const struct parser *parser, const json_t *when)
{
        struct hook_file *file = parser->file;
        int result = get_flag(parser, when, "always", &file->has_always, &file->always);
        if (result == 0)
                result = get_flag(parser, when, "hasBindMounts", &file->has_bind_mounts,
                                  &file->bind_mounts);
        if (result == 0)
                result = parse_annotations(parser, when);
        if (result == 0)
                result = get_list(parser, when, "commands", &file->commands, &file->command_count);
        return result < 0 ? result : check_commands(parser);
}

static int parse_current(const struct parser *parser, const json_t *document)
{
        json_t *hook = NULL, *when = NULL;
        const char **stages = NULL;
        int result = json_get_object(document, "hook", parser->path, &hook, parser->err);
        if (result == 0 && !hook)
                result = wrong(parser, "there is no ", "hook");
        if (result == 0)
                result = parse_hook(parser, hook);
        if (result == 0)
                result = json_get_object(document, "when", parser->path, &when, parser->err);
        if (result == 0 && when)
                result = parse_when(parser, when);
        if (result == 0)
                result = get_list(parser, document, "stages", &stages, NULL);
        return result < 0 ? result : set_stages(parser, stages);
}

/* ---- 0.1.0: one condition is enough ---- */

static int set_old_arguments(const struct parser *parser, const char **arguments, size_t count)
{
        if (!arguments)
                return 0;
        const char **args = arena_array(parser->arena, count + 2, sizeof *args);
        args[0] = parser->file->hook.path;
        memcpy(args + 1, arguments, count * sizeof *args);
        parser->file->hook.args = args;
        return 0;
}

static int set_old_annotations(const struct parser *parser, const char **values, size_t count)
{
        struct hook_file *file = parser->file;
        file->annotations = arena_array(parser->arena, count + 1, sizeof *file->annotations);
        for (size_t i = 0; i < count; i++) {
                int result = check_pattern(parser, values[i]);
                if (result < 0)
                        return result;
                file->annotations[file->annotation_count++] = (struct spec_pair){".*", values[i]};
        }
        return 0;
}

static int parse_old(const struct parser *parser, const json_t *document)
{
        struct hook_file *file = parser->file;
        const char **arguments = NULL, **annotations = NULL, **stages = NULL;
        size_t argument_count = 0, annotation_count = 0;
        file->any = true;
        int result = set_path(parser, document, "hook");
        if (result == 0)
                result = get_list(parser, document, "arguments", &arguments, &argument_count);
        if (result == 0)
                result = set_old_arguments(parser, arguments, argument_count);
        if (result == 0)
                result = get_either(parser, document, "stages", "stage", &stages, NULL);
        if (result == 0)
                result = set_stages(parser, stages);
        if (result == 0)
                result = get_either(parser, document, "cmds", "cmd", &file->commands,
                                    &file->command_count);
        if (result == 0)
                result = check_commands(parser);
        if (result == 0)
                result = get_either(parser, document, "annotations", "annotation", &annotations,
                                    &annotation_count);
        if (result == 0)
                result = set_old_annotations(parser, annotations, annotation_count);
        return result < 0 ? result
                          : get_flag(parser, document, "hasbindmounts", &file->has_bind_mounts,
                                     &file->bind_mounts);
}

int hook_parse(const json_t *document, const char *path, struct arena *arena,
               struct hook_file *file, struct error *err)
{
        struct hook_file found = {0};
        struct parser parser = {.path = path, .arena = arena, .file = &found, .err = err};
        const char *version = NULL;
        if (!json_is_object(document))
                return wrong(&parser, "expected ", "an object");
        int result = json_get_string(document, "version", path, &version, err);
        if (result < 0)
                return result;
        if (version && strcmp(version, "1.0.0") == 0)
                result = parse_current(&parser, document);
        else if (!version || !*version || strcmp(version, "0.1.0") == 0)
                result = parse_old(&parser, document);
        else
                result = wrong(&parser, "neither 1.0.0 nor 0.1.0 is version ", version);
        if (result == 0)
                *file = found;
        return result;
}

/* ---- conditions ---- */

static bool has_annotation(const struct spec_pair *pattern, const struct hook_question *question)
{
        for (size_t i = 0; i < question->annotation_count; i++) {
                const struct spec_pair *each = &question->annotations[i];
                if (hook_pattern_matches(pattern->key, each->key, NULL) == 1 &&
                    hook_pattern_matches(pattern->value, each->value ? each->value : "", NULL) == 1)
                        return true;
        }
        return false;
}

static bool is_command(const struct hook_file *file, const char *command)
{
        for (size_t i = 0; i < file->command_count; i++)
                if (hook_pattern_matches(file->commands[i], command, NULL) == 1)
                        return true;
        return false;
}

bool hook_matches(const struct hook_file *file, const struct hook_question *question)
{
        size_t asked = 0, held = 0;
        if (file->has_always) {
                asked++;
                held += file->always;
        }
        if (file->has_bind_mounts) {
                asked++;
                held += file->bind_mounts && question->has_bind_mounts;
        }
        for (size_t i = 0; i < file->annotation_count; i++) {
                asked++;
                held += has_annotation(&file->annotations[i], question);
        }
        if (file->command_count) {
                asked++;
                held += is_command(file, question->command);
        }
        return file->any ? held > 0 : asked > 0 && held == asked;
}
