/* The hooks of an OCI specification. */
#include <string.h>

#include "oci/spec_private.h"

static const char *const stage_names[] = {
        [SPEC_HOOK_PRESTART] = "prestart",
        [SPEC_HOOK_CREATE_RUNTIME] = "createRuntime",
        [SPEC_HOOK_CREATE_CONTAINER] = "createContainer",
        [SPEC_HOOK_START_CONTAINER] = "startContainer",
        [SPEC_HOOK_POSTSTART] = "poststart",
        [SPEC_HOOK_POSTSTOP] = "poststop",
};

enum spec_hook_stage spec_hook_stage_of(const char *name)
{
        int stage = 0;
        while (stage < SPEC_HOOK_STAGES && strcmp(stage_names[stage], name) != 0)
                stage++;
        return (enum spec_hook_stage)stage;
}

static json_t *hook_object(struct spec_draft *draft, const struct spec_hook *hook)
{
        json_t *object = json_object();
        if (hook->path[0] != '/')
                spec_fail(draft, "hook \"%.*s\": its path is not absolute", SPEC_PLACE_MAX,
                          hook->path);
        spec_put(object, "path", spec_text(draft, hook->path, "a hook's path", NULL));
        if (hook->args)
                spec_put(object, "args", spec_texts(draft, hook->args, "argument of a hook"));
        if (hook->env)
                spec_put(object, "env", spec_texts(draft, hook->env, "variable of a hook"));
        spec_put_number(object, "timeout", hook->timeout);
        return object;
}

json_t *spec_hooks(struct spec_draft *draft, const struct spec_options *options)
{
        json_t *object = json_object();
        for (size_t i = 0; i < options->hook_count; i++) {
                const char *stage = stage_names[options->hooks[i].stage];
                json_t *list = json_object_get(object, stage);
                if (!list) {
                        list = json_array();
                        spec_put(object, stage, list);
                }
                json_array_append_new(list, hook_object(draft, &options->hooks[i]));
        }
        return object;
}
