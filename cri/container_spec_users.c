/* What a user namespace changes in a container's specification. */
#include <string.h>

#include "cri/container_spec.h"
#include "cri/pod_users.h"
#include "oci/idmap.h"

static uint32_t group_of(const struct pod_users *users, uint32_t group)
{
        idmap_to_container(users->gids.maps, users->gids.count, group, &group);
        return group;
}

void container_spec_translate(const struct container_spec *draft, struct user *user)
{
        const struct pod_users *users = draft->pod->users;
        if (!users || !users->host_ids)
                return;
        idmap_to_container(users->uids.maps, users->uids.count, user->uid, &user->uid);
        user->gid = group_of(users, user->gid);
        for (size_t i = 0; i < user->gid_count; i++)
                user->gids[i] = group_of(users, user->gids[i]);
}

/* Those that runtimes make in every container by themselves. */
static bool is_everywhere(const struct spec_device *device)
{
        static const char *const paths[] = {"/dev/null",   "/dev/zero",    "/dev/full",
                                            "/dev/random", "/dev/urandom", "/dev/tty"};
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
                if (strcmp(device->path, paths[i]) == 0)
                        return true;
        return false;
}

/*
 * Nobody makes device nodes in a user namespace. The host's own is bound in its place, with a rule
 * that lets it be used; a runtime would do so too, but not all of them where it has another path.
 */
void container_spec_users(struct container_spec *draft)
{
        static const char *const options[] = {"bind", "rprivate", NULL};
        struct spec_options *spec = &draft->spec;
        size_t count = spec->device_count, kept = 0, mounts_count = spec->mount_count;
        if (!draft->pod->users || count == 0)
                return;
        struct spec_device *devices = arena_array(draft->arena, count, sizeof *devices);
        struct spec_mount *mounts = arena_array(draft->arena, mounts_count + count, sizeof *mounts);
        struct spec_device_rule *rules =
                arena_array(draft->arena, spec->device_rule_count + count, sizeof *rules);
        if (mounts_count)
                memcpy(mounts, spec->mounts, mounts_count * sizeof *mounts);
        size_t rules_count = 0;
        for (size_t i = 0; i < count; i++) {
                const struct spec_device *device = &spec->devices[i];
                if (!device->source || device->type == 'p' || is_everywhere(device)) {
                        devices[kept++] = *device;
                        continue;
                }
                mounts[mounts_count++] = (struct spec_mount){.destination = device->path,
                                                             .source = device->source,
                                                             .type = "bind",
                                                             .options = options};
                rules[rules_count++] = (struct spec_device_rule){
                        .allow = true,
                        .type = device->type,
                        .device_major = device->device_major,
                        .device_minor = device->device_minor,
                        .access = device->access,
                };
        }
        if (spec->device_rule_count)
                memcpy(rules + rules_count, spec->device_rules,
                       spec->device_rule_count * sizeof *rules);
        spec->devices = devices;
        spec->device_count = kept;
        spec->mounts = mounts;
        spec->mount_count = mounts_count;
        spec->device_rules = rules;
        spec->device_rule_count += rules_count;
}
