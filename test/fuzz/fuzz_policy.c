/*
 * Any text as a policy: it is refused, or gives each name requirements; with their keys these read
 * as the same again.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "image/identity.h"
#include "image/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct policy_requirements *requirements, const struct reference *reference,
                 struct arena *arena)
{
        struct policy_requirements again;
        struct error err;
        assert(requirements->count > 0 && requirements->scope);
        policy_decides(requirements);
        for (size_t i = 0; i < requirements->count; i++) {
                identity_matches(&requirements->list[i].identity, reference, "a.b/c:1");
                identity_matches(&requirements->list[i].identity, reference, "busybox");
                /* Files are not read here. */
                if (requirements->list[i].keys.path_count || requirements->list[i].ca.path_count ||
                    requirements->list[i].rekor.path_count ||
                    requirements->list[i].roots.path_count ||
                    requirements->list[i].intermediates.path_count)
                        return;
        }
        AUTO_JSON json_t *json = policy_to_json(requirements);
        assert(policy_from_json(json, arena, &again, &err) == 0);
        assert(again.count == requirements->count);
        AUTO_JSON json_t *same = policy_to_json(&again);
        assert(json_equal(json, same));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const names[] = {"busybox", "a.b/c/d:1", "host.example:5000/x:y",
                                            "busybox@sha256:0123456789abcdef0123456789abcdef"
                                            "0123456789abcdef0123456789abcdef"};
        AUTO_ARENA struct arena *arena = arena_new();
        struct policy *policy = NULL;
        struct reference reference;
        struct error err = {0};

        if (policy_parse((const char *)data, size, "policy.json", arena, &policy, &err) < 0) {
                assert(err.code == ERROR_INVALID_ARGUMENT);
                return 0;
        }
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                assert(reference_parse(names[i], &reference, NULL) == 0);
                look(policy_for_name(policy, &reference), &reference, arena);
        }
        look(policy_for_nameless(policy), &reference, arena);
        return 0;
}
