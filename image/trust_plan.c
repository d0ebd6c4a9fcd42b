/* What the policy asks of a name. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "image/lookaside.h"
#include "image/policy.h"
#include "image/trust_private.h"

#define SPACE_MAX 253 /* bytes of a namespace's name; it is a DNS label */

/* A file's name and nothing else. */
static bool space_is_plain(const char *space)
{
        return strlen(space) <= SPACE_MAX && space[0] != '.' && !strchr(space, '/');
}

/* 0 with *found false where there is no such file. */
static int read_policy(const char *path, struct arena *arena, struct policy **policy, bool *found,
                       struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        int r = file_read(path, POLICY_BYTES_MAX, &bytes, err);

        *found = r >= 0;
        if (r == -ENOENT || r == -ENOTDIR)
                return 0;
        if (r < 0)
                return error_context(err, "signature policy");
        return policy_parse(bytes.data ? bytes.data : "", bytes.length, path, arena, policy, err);
}

/* The namespace's file, or else the node's. *file names which; null where there is none. */
static int find_policy(const struct trust_job *job, struct policy **policy, const char **file)
{
        const struct trust *trust = job->trust;
        const char *space = job->space ? job->space : "";
        bool found = false;
        int r;

        *file = NULL;
        if (!space_is_plain(space) && space[0])
                return error_set(job->err, ERROR_INVALID_ARGUMENT,
                                 "namespace \"%.100s\" cannot be the name of a policy's file",
                                 space);
        if (space[0]) {
                const char *path = arena_printf(job->arena, "%s/%s.json", trust->policy_dir, space);
                r = read_policy(path, job->arena, policy, &found, job->err);
                if (r < 0)
                        return r;
                if (found) {
                        *file = path;
                        return 0;
                }
        }
        r = read_policy(trust->policy, job->arena, policy, &found, job->err);
        if (r == 0 && found)
                *file = trust->policy;
        return r;
}

static int fill_plan(const struct trust_job *job, const struct policy_requirements *requirements)
{
        struct trust_plan *plan = job->plan;
        struct policy_requirements loaded;
        char hex[SHA256_HEX + 1];

        int r = policy_load_keys(requirements, job->arena, &loaded, job->err);
        if (r < 0)
                return r;
        AUTO_JSON json_t *json = policy_to_json(&loaded);
        AUTO_FREE char *text = json_text(json);
        sha256_hex(text, strlen(text), hex);
        plan->needed = true;
        plan->requirements = arena_strdup(job->arena, text);
        plan->fingerprint = arena_strdup(job->arena, hex);
        if (job->reference) {
                struct lookaside lookaside;
                r = lookaside_find(job->trust->registries_d, job->reference, job->arena, &lookaside,
                                   job->err);
                if (r < 0)
                        return r;
                plan->lookaside = lookaside.url;
                plan->attachments = lookaside.attachments;
        }
        return 0;
}

static int make_plan(const struct trust_job *job)
{
        const struct policy_requirements *requirements;
        struct policy *policy;
        const char *file;

        *job->plan = (struct trust_plan){.fingerprint = "", .scope = ""};
        int r = find_policy(job, &policy, &file);
        if (r < 0 || !file)
                return r;
        requirements = job->reference ? policy_for_name(policy, job->reference)
                                      : policy_for_nameless(policy);
        job->plan->scope = arena_printf(job->arena, "%s: \"%s\"", file, requirements->scope);
        switch (policy_decides(requirements)) {
        case POLICY_ACCEPT:
                return 0;
        case POLICY_REJECT:
                return error_set(job->err, ERROR_FAILED_PRECONDITION,
                                 "the policy rejects it: %s: allow it there, or use an image "
                                 "that is allowed",
                                 job->plan->scope);
        default:
                r = fill_plan(job, requirements);
                return r < 0 ? error_context(job->err, "%s", file) : 0;
        }
}

int trust_plan_work(void *argument)
{
        struct trust_job *job = argument;
        int r = make_plan(job);
        return r < 0 ? error_word(job->err, TRUST_WORD) : 0;
}
