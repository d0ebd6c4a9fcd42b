#include "cri/pod_users.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/memory.h"
#include "cri/annotation.h"
#include "cri/pod.h"
#include "cri/record.h"
#include "cri/users_range.h"
#include "oci/idmap.h"

#define FIELD       "config.linux.security_context.namespace_options.userns_options"
#define ANNOTATION  "userns-mode.crio.io"
#define SUBUID      "/etc/subuid"
#define SUBGID      "/etc/subgid"
#define SUBID_OWNER "containers"
#define SUBID_MAX   (4 * 1024 * 1024) /* bytes */

typedef Runtime__V1__LinuxSandboxSecurityContext security_context;

static const security_context *security_of(const struct pod *pod)
{
        static const security_context none = RUNTIME__V1__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
        const Runtime__V1__LinuxPodSandboxConfig *config = pod_config(pod)->linux;
        return config && config->security_context ? config->security_context : &none;
}

void pod_users_free(struct pod_users *users)
{
        if (!users)
                return;
        free(users->uids.maps);
        free(users->gids.maps);
        free(users);
}

static void cleanup_users(struct pod_users **users)
{
        pod_users_free(*users);
}
#define AUTO_USERS CLEANUP(cleanup_users)

static void copy_mappings(Runtime__V1__IDMapping *const *mappings, size_t count,
                          struct users_maps *maps)
{
        for (size_t i = 0; i < count; i++)
                users_maps_add(maps, mappings[i]->container_id, mappings[i]->host_id,
                               mappings[i]->length);
}

/* ---- checks ---- */

static int check_floor(const struct users_maps *maps, unsigned floor, const char *key,
                       struct error *err)
{
        for (size_t i = 0; i < maps->count; i++)
                if (maps->maps[i].host_id < floor)
                        return error_set(err, ERROR_PERMISSION_DENIED,
                                         "the host's IDs from %u are below %u, the node's runtime."
                                         "%s",
                                         maps->maps[i].host_id, floor, key);
        return 0;
}

static int check_floors(const struct users_maps *uids, const struct users_maps *gids,
                        struct error *err)
{
        int result = check_floor(uids, node.config->runtime.minimum_mappable_uid,
                                 "minimum_mappable_uid", err);
        return result < 0 ? result
                          : check_floor(gids, node.config->runtime.minimum_mappable_gid,
                                        "minimum_mappable_gid", err);
}

/* What of the host's a pod with users of its own cannot have: the kernel does not mount it for
 * them. */
static const char *obstacle(const struct pod *pod)
{
        if (pod_namespaces(pod)->pid == RUNTIME__V1__NAMESPACE_MODE__NODE)
                return "the host's PID namespace";
        return pod_has_ipc(pod) ? NULL : "the host's IPC namespace";
}

static int finish(struct pod *pod, struct pod_users **users, struct error *err)
{
        struct pod_users *made = *users;
        int result = idmap_check(made->uids.maps, made->uids.count, err);
        if (result == 0)
                result = idmap_check(made->gids.maps, made->gids.count, err);
        if (result < 0)
                return result;
        idmap_to_host(made->uids.maps, made->uids.count, 0, &made->root_uid);
        idmap_to_host(made->gids.maps, made->gids.count, 0, &made->root_gid);
        pod->users = take_ptr(*users);
        return 0;
}

/* ---- by CRI ---- */

static int choose_asked(struct pod *pod, const Runtime__V1__UserNamespace *asked, struct error *err)
{
        AUTO_USERS struct pod_users *users = xcalloc(1, sizeof *users);
        copy_mappings(asked->uids, asked->n_uids, &users->uids);
        copy_mappings(asked->gids, asked->n_gids, &users->gids);
        int result = check_floors(&users->uids, &users->gids, err);
        if (result == 0)
                result = finish(pod, &users, err);
        return result < 0 ? error_context(err, FIELD) : 0;
}

/* ---- by the configuration ---- */

static int add_configured(struct pod_users *users, struct error *err)
{
        const char *const texts[] = {node.config->runtime.uid_mappings,
                                     node.config->runtime.gid_mappings};
        struct users_maps *const maps[] = {&users->uids, &users->gids};
        for (size_t i = 0; i < 2; i++) {
                if (!*texts[i])
                        return error_set(err, ERROR_FAILED_PRECONDITION,
                                         "runtime.uid_mappings and runtime.gid_mappings: of the "
                                         "two one is empty");
                int result = idmap_parse(texts[i], &maps[i]->maps, &maps[i]->count, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

static int choose_configured(struct pod *pod, struct error *err)
{
        AUTO_USERS struct pod_users *users = xcalloc(1, sizeof *users);
        int result = add_configured(users, err);
        if (result == 0)
                result = finish(pod, &users, err);
        return result < 0 ? error_context(err, "the node's user namespace") : 0;
}

/* ---- by annotation ---- */

struct ranges {
        struct users_range uids[USERS_RANGES_MAX], gids[USERS_RANGES_MAX];
        size_t uid_count, gid_count;
        struct error *err;
};

static int read_file_of(const char *path, struct users_range *ranges, size_t *count,
                        struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = file_read(path, SUBID_MAX, &text, err);
        if (result < 0 && result != -ENOENT)
                return result;
        if (result == 0 && text.length) {
                buffer_add(&text, "", 1);
                *count = users_range_of(text.data, SUBID_OWNER, ranges, USERS_RANGES_MAX);
        }
        if (*count == 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%s has no range of the user " SUBID_OWNER
                                 ", and runtime.userns_range is empty",
                                 path);
        return 0;
}

static int read_on_worker(void *argument)
{
        struct ranges *ranges = argument;
        int result = read_file_of(SUBUID, ranges->uids, &ranges->uid_count, ranges->err);
        return result < 0 ? result
                          : read_file_of(SUBGID, ranges->gids, &ranges->gid_count, ranges->err);
}

static int find_ranges(struct ranges *ranges)
{
        const char *configured = node.config->runtime.userns_range;
        if (!*configured)
                return task_offload(read_on_worker, ranges);
        int result = users_range_parse(configured, &ranges->uids[0], ranges->err);
        if (result < 0)
                return result;
        ranges->gids[0] = ranges->uids[0];
        ranges->uid_count = ranges->gid_count = 1;
        return 0;
}

/* What all pods have, also those whose files are still there, and this one so far. */
static struct users_range *taken_ranges(const struct users_maps *own, bool groups, size_t *count)
{
        struct users_range *taken = NULL;
        size_t cursor = 0, found = 0;
        const struct users_maps *maps = own;
        for (;;) {
                for (size_t i = 0; maps && i < maps->count; i++) {
                        taken = xrealloc(taken, (found + 1) * sizeof *taken);
                        taken[found++] =
                                (struct users_range){maps->maps[i].host_id, maps->maps[i].length};
                }
                const struct pod *pod = table_next(node.pods, &cursor, NULL);
                if (!pod)
                        break;
                maps = !pod->users ? NULL : groups ? &pod->users->gids : &pod->users->uids;
        }
        *count = found;
        return taken;
}

static int fill(struct users_maps *maps, const struct ranges *ranges, bool groups, uint32_t size)
{
        size_t taken_count;
        uint32_t first = 0;
        AUTO_FREE struct users_range *taken = taken_ranges(maps, groups, &taken_count);
        int result = users_range_find(groups ? ranges->gids : ranges->uids,
                                      groups ? ranges->gid_count : ranges->uid_count, taken,
                                      taken_count, size, &first, ranges->err);
        if (result == 0)
                users_maps_fill(maps, first, size);
        return result;
}

static void add_first(const struct users_mode *mode, const Runtime__V1__Int64Value *asked,
                      struct users_maps *maps)
{
        uint32_t id = asked ? (uint32_t)asked->value : 0;
        if (id == 0)
                return;
        if (mode->keep_id || mode->map_to_root)
                users_maps_add(maps, mode->keep_id ? id : 0, id, 1);
        else
                users_maps_add_host(maps, id);
}

/* Whom the pod runs as is somebody of the host, who becomes somebody of the pod: himself, its root,
 * or the first that is free. The host's root does not: who asks for 0 means the pod's. */
static void add_users(const struct users_mode *mode, const security_context *security,
                      struct pod_users *users)
{
        add_first(mode, security->run_as_user, &users->uids);
        add_first(mode, security->run_as_group, &users->gids);
        for (size_t i = 0; i < security->n_supplemental_groups; i++) {
                uint32_t id = (uint32_t)security->supplemental_groups[i], ignored;
                if (id == 0)
                        continue;
                if (!mode->keep_id)
                        users_maps_add_host(&users->gids, id);
                else if (!idmap_to_container(users->gids.maps, users->gids.count, id, &ignored))
                        users_maps_add(&users->gids, id, id, 1);
        }
}

/* Who names the host's users himself says as whom the pod runs: root, or one that the node lets be
 * mapped. */
static int check_user(const struct users_mode *mode, const security_context *security,
                      struct error *err)
{
        unsigned floor = node.config->runtime.minimum_mappable_uid;
        if (!mode->uids.count && !mode->gids.count)
                return 0;
        if (!security->run_as_user)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "uidmapping and gidmapping need run_as_user");
        if (security->run_as_user->value == 0)
                return 0;
        if (floor == 0)
                return error_set(err, ERROR_PERMISSION_DENIED,
                                 "uidmapping and gidmapping of pods that are not root's need the "
                                 "node's runtime.minimum_mappable_uid");
        return security->run_as_user->value >= floor
                       ? 0
                       : error_set(err, ERROR_PERMISSION_DENIED,
                                   "run_as_user %lld is below %u, the node's "
                                   "runtime.minimum_mappable_uid",
                                   (long long)security->run_as_user->value, floor);
}

static int fill_automatic(const struct users_mode *mode, struct pod_users *users, struct error *err)
{
        struct ranges *ranges = xcalloc(1, sizeof *ranges);
        ranges->err = err;
        int result = check_floors(&users->uids, &users->gids, err);
        if (result == 0)
                result = find_ranges(ranges);
        /* From here on nothing waits until the pod has them. */
        if (result == 0)
                result = fill(&users->uids, ranges, false, mode->size);
        if (result == 0)
                result = fill(&users->gids, ranges, true, mode->size);
        free(ranges);
        return result;
}

static int choose_by_mode(struct pod *pod, struct users_mode *mode, struct error *err)
{
        const security_context *security = security_of(pod);
        AUTO_USERS struct pod_users *users = xcalloc(1, sizeof *users);
        int result = check_user(mode, security, err);
        if (result < 0)
                return result;
        users->host_ids = true;
        bool configured = !mode->automatic && !mode->uids.count && !mode->gids.count;
        users->uids = mode->uids;
        users->gids = mode->gids;
        mode->uids = mode->gids = (struct users_maps){0};
        /* Of the two one is said for both. */
        const struct users_maps *said = users->uids.count ? &users->uids : &users->gids;
        struct users_maps *other = users->uids.count ? &users->gids : &users->uids;
        if (configured)
                result = add_configured(users, err);
        else if (!mode->automatic && !other->count)
                for (size_t i = 0; i < said->count; i++)
                        users_maps_add(other, said->maps[i].container_id, said->maps[i].host_id,
                                       said->maps[i].length);
        if (result < 0)
                return result;
        add_users(mode, security, users);
        result = mode->automatic ? fill_automatic(mode, users, err)
                                 : check_floors(&users->uids, &users->gids, err);
        return result == 0 ? finish(pod, &users, err) : result;
}

static int choose_annotated(struct pod *pod, const char *text, struct error *err)
{
        struct users_mode mode = {0};
        int result = users_mode_parse(text, &mode, err);
        if (result == 0 && obstacle(pod))
                result = error_set(err, ERROR_INVALID_ARGUMENT, "the pod has %s", obstacle(pod));
        if (result == 0)
                result = choose_by_mode(pod, &mode, err);
        users_mode_fini(&mode);
        return result < 0 ? error_context(err, "annotation " ANNOTATION) : 0;
}

/* ---- all of them ---- */

static int require(const struct pod *pod, struct error *err)
{
        return users_require(pod->handler, err);
}

int pod_users_choose(struct pod *pod, struct error *err)
{
        const Runtime__V1__UserNamespace *asked = pod_namespaces(pod)->userns_options;
        const char *annotation = annotation_of_pod(pod, ANNOTATION);
        bool asks = asked && asked->mode == RUNTIME__V1__NAMESPACE_MODE__POD;
        /* For all pods, but for those that cannot or shall not have one. */
        bool configured =
                (*node.config->runtime.uid_mappings || *node.config->runtime.gid_mappings) &&
                !asked && !obstacle(pod) && !security_of(pod)->privileged;
        if (!asks && !(annotation && *annotation) && !configured)
                return 0;
        int result = require(pod, err);
        if (result < 0)
                return result;
        if (asks)
                return choose_asked(pod, asked, err);
        return annotation && *annotation ? choose_annotated(pod, annotation, err)
                                         : choose_configured(pod, err);
}

static bool is_hosts(const Runtime__V1__UserNamespace *options)
{
        return !options || options->mode == RUNTIME__V1__NAMESPACE_MODE__NODE;
}

int pod_users_check_container(const struct pod *pod, const Runtime__V1__NamespaceOption *options,
                              struct error *err)
{
        static const char field[] = "config.linux.security_context.namespace_options";
        const Runtime__V1__UserNamespace *own = options->userns_options;
        const Runtime__V1__UserNamespace *its = pod_namespaces(pod)->userns_options;
        if (is_hosts(own) != is_hosts(its) ||
            (!is_hosts(own) && !record_same_message(&own->base, &its->base)))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s.userns_options: they are not the pod's", field);
        if (!pod->users)
                return 0;
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__NODE)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s.pid: NODE, and the pod has a user namespace of its own",
                                 field);
        if (options->ipc == RUNTIME__V1__NAMESPACE_MODE__NODE)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s.ipc: NODE, and the pod has a user namespace of its own",
                                 field);
        return 0;
}

int pod_users_own(const struct pod *pod, const char *path, struct error *err)
{
        if (pod->users && lchown(path, pod->users->root_uid, pod->users->root_gid) < 0)
                return error_errno(err, errno, "give %s to the pod's root", path);
        return 0;
}

int pod_users_own_tree(const struct pod *pod, const char *path, struct error *err)
{
        AUTO_FREE char *copy = xstrdup(path);
        char *paths[] = {copy, NULL};
        int result = 0;
        if (!pod->users)
                return 0;
        FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
        if (!tree)
                return error_errno(err, errno, "walk %s", path);
        for (FTSENT *entry; result == 0 && (entry = fts_read(tree));) {
                if (entry->fts_info == FTS_DP || !entry->fts_statp)
                        continue;
                uint32_t uid = entry->fts_statp->st_uid, gid = entry->fts_statp->st_gid;
                pod_users_to_host(pod, &uid, &gid);
                if (lchown(entry->fts_path, uid, gid) < 0)
                        result = error_errno(err, errno, "give %s to the pod", entry->fts_path);
        }
        fts_close(tree);
        return result;
}

void pod_users_to_host(const struct pod *pod, uint32_t *uid, uint32_t *gid)
{
        const struct pod_users *users = pod->users;
        if (!users)
                return;
        if (!idmap_to_host(users->uids.maps, users->uids.count, *uid, uid))
                *uid = 0;
        if (!idmap_to_host(users->gids.maps, users->gids.count, *gid, gid))
                *gid = 0;
}

void pod_users_map_rootfs(const struct pod *pod, const char *pin, struct rootfs *rootfs)
{
        if (!pod->users)
                return;
        rootfs->user_namespace = pin;
        rootfs->root_uid = pod->users->root_uid;
        rootfs->root_gid = pod->users->root_gid;
}

/* ---- the record ---- */

static json_t *maps_json(const struct users_maps *maps)
{
        json_t *list = json_array();
        for (size_t i = 0; i < maps->count; i++)
                json_array_append_new(list,
                                      json_pack("[I,I,I]", (json_int_t)maps->maps[i].container_id,
                                                (json_int_t)maps->maps[i].host_id,
                                                (json_int_t)maps->maps[i].length));
        return list;
}

void pod_users_put(const struct pod *pod, json_t *record)
{
        const struct pod_users *users = pod->users;
        if (!users)
                return;
        json_t *object = json_object();
        json_object_set_new(object, "uids", maps_json(&users->uids));
        json_object_set_new(object, "gids", maps_json(&users->gids));
        json_object_set_new(object, "host_ids", json_boolean(users->host_ids));
        json_object_set_new(record, "users", object);
}

static int read_maps(const json_t *object, const char *key, struct users_maps *maps,
                     struct error *err)
{
        json_t *list = NULL, *each;
        size_t i;
        int result = json_get_array(object, key, "record.json", &list, err);
        if (result < 0)
                return result;
        json_array_foreach (list, i, each) {
                json_int_t container, host, length;
                if (json_unpack(each, "[I,I,I]", &container, &host, &length) < 0 || container < 0 ||
                    container > UINT32_MAX || host < 0 || host > UINT32_MAX || length < 0 ||
                    length > UINT32_MAX || maps->count == IDMAP_RANGES_MAX)
                        return error_set(err, ERROR_DATA_LOSS, "record.json: users.%s", key);
                users_maps_add(maps, (uint32_t)container, (uint32_t)host, (uint32_t)length);
        }
        return 0;
}

int pod_users_restore(struct pod *pod, const json_t *record, struct error *err)
{
        json_t *object = NULL;
        int result = json_get_object(record, "users", "record.json", &object, err);
        if (result < 0 || !object)
                return result;
        AUTO_USERS struct pod_users *users = xcalloc(1, sizeof *users);
        result = read_maps(object, "uids", &users->uids, err);
        if (result == 0)
                result = read_maps(object, "gids", &users->gids, err);
        if (result == 0)
                result = json_get_bool(object, "host_ids", "record.json", &users->host_ids, err);
        return result == 0 ? finish(pod, &users, err) : result;
}
