/* CreateContainer: one container for one name, however often it is asked for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/confinement.h"
#include "cri/container.h"
#include "cri/container_pids.h"
#include "cri/container_resources.h"
#include "cri/container_usage.h"
#include "cri/image_volume.h"
#include "cri/init_system.h"
#include "cri/pod_users.h"
#include "cri/record.h"
#include "cri/seccomp_notifier.h"
#include "cri/signals.h"
#include "cri/validate.h"
#include "image/rootfs.h"

#define PASSABLE_MODE 0710

static void remove_unclaimed(void *argument)
{
        AUTO_CONTAINER struct container *container = argument;
        struct error err;
        if (container->claimed || container->phase == CONTAINER_REMOVED)
                return;
        log_info("nobody has come back for this container: removing it", "container", container->id,
                 NULL);
        if (container_remove(container, &err) < 0)
                log_failure(&err, "removing an unclaimed container failed", "container",
                            container->id, NULL);
}

static void unclaimed_too_long(void *argument)
{
        struct container *container = argument;
        timer_free(take_ptr(container->unclaimed_timer));
        task_start("remove unclaimed container", remove_unclaimed, container_ref(container));
}

static void claim(struct container *container, const struct rpc *rpc)
{
        if (!rpc_cancelled(rpc)) {
                container->claimed = true;
                timer_free(take_ptr(container->unclaimed_timer));
                events_tell_container(container, EVENT_CREATED);
        } else if (!container->claimed && !container->unclaimed_timer) {
                int64_t time = node.config->runtime.unclaimed_timeout * NSEC_PER_SEC;
                container->unclaimed_timer =
                        timer_new(clock_after(time), unclaimed_too_long, container);
        }
}

struct mount_job {
        struct container *container;
        const struct rootfs *rootfs;
        struct error *err;
};

/* The runtime goes to the container's root as root of its user namespace, who is nobody on the
 * host. */
static int let_pass(const struct pod *pod, const char *run, struct error *err)
{
        if (pod->users &&
            (chown(run, 0, pod->users->root_gid) < 0 || chmod(run, PASSABLE_MODE) < 0))
                return error_errno(err, errno, "let the pod's root pass through %s", run);
        return 0;
}

static int mount_on_worker(void *argument)
{
        struct mount_job *job = argument;
        AUTO_FREE char *run = container_run_path(job->container, "");
        AUTO_FREE char *target = container_run_path(job->container, "rootfs");
        AUTO_FREE char *writable = container_state_path(job->container, "");
        int result = file_make_directories(run, 0700, job->err);
        if (result == 0)
                result = let_pass(job->container->pod, run, job->err);
        return result == 0 ? rootfs_mount(job->rootfs, writable, target, job->err) : result;
}

static int build(struct container *container, const struct image_config *image, struct error *err)
{
        AUTO_ROOTFS struct rootfs rootfs = ROOTFS_INIT;
        AUTO_CONFINEMENT struct confinement confinement = {0};
        container_step(container, "choosing its confinement");
        int result = confinement_prepare(container, &confinement, err);
        if (result < 0)
                return result;
        container_step(container, "mounting its root");
        result = rootfs_prepare(node.images, container->image_id, &rootfs, err);
        if (result < 0)
                return result;
        rootfs.label = confinement.labels.mount;
        AUTO_FREE char *pin = pod_namespace_path(container->pod, "user");
        pod_users_map_rootfs(container->pod, pin, &rootfs);
        container->seccomp_notifies = seccomp_notifier_is_wanted(container);
        struct mount_job mount = {.container = container, .rootfs = &rootfs, .err = err};
        result = task_offload(mount_on_worker, &mount);
        if (result < 0)
                return error_context(err, "mount its root");
        container_step(container, "mounting images into it");
        result = container_pin_target(container, err);
        if (result < 0)
                return result;
        char **volumes = NULL;
        result = image_volumes_mount(container, &volumes, err);
        if (result < 0)
                return result;
        container_step(container, "writing its bundle");
        struct container_bundle bundle = {.container = container,
                                          .image = image,
                                          .volumes = volumes,
                                          .confinement = &confinement,
                                          .err = err};
        result = task_offload(container_make_bundle, &bundle);
        strv_free(volumes);
        if (result < 0)
                return result;
        container->uid = bundle.uid;
        container->gid = bundle.gid;
        container->gids = bundle.gids;
        container->gid_count = bundle.gid_count;
        return 0;
}

/* The policy may be another than at the pull, and another for this pod's namespace. */
static int check_trust(struct container *container, struct error *err)
{
        const Runtime__V1__ImageSpec *spec = container_config(container)->image;
        const char *asked = spec->user_specified_image && spec->user_specified_image[0]
                                    ? spec->user_specified_image
                                    : spec->image;
        container_step(container, "checking what signed its image");
        int result = trust_check_image(node.trust, node.images, container->image_id, asked,
                                       pod_config(container->pod)->metadata->namespace_, err);
        return result < 0 ? result : image_volumes_check_trust(container, err);
}

/* What the image says; an init system that says nothing takes SIGTERM for something else. */
static const char *stop_signal(const struct container *container, const struct image_config *image)
{
        bool says = image->stop_signal && *image->stop_signal;
        return !says && init_system_runs(container_config(container), image)
                       ? INIT_SYSTEM_STOP_SIGNAL
                       : image->stop_signal;
}

static int create(struct container *container, struct error *err)
{
        AUTO_IMAGE_CONFIG struct image_config *image = NULL;
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        int result = check_trust(container, err);
        if (result < 0)
                return result;
        result = container_resources_choose(container, err);
        if (result < 0)
                return result;
        container_step(container, "writing the intent");
        result = cgroup_place(node.cgroup_driver, pod_cgroup_parent(container->pod), container->id,
                              &place, err);
        if (result < 0)
                return result;
        container->cgroup_path = take_ptr(place.path);
        result = store_config(node.images, container->image_id, &image, err);
        if (result == 0)
                result = signals_effective(container_config(container),
                                           stop_signal(container, image), &container->stop_signal,
                                           err);
        if (result < 0)
                return result;
        /* So says the intent too: who finds it cleans up. */
        container->clean = false;
        AUTO_JSON json_t *record = container_record(container);
        result = record_create(node.containers_dir, container->id, &container->request->base,
                               record, err);
        if (result < 0) {
                container->clean = true;
                return result;
        }
        result = build(container, image, err);
        if (result == 0) {
                container_step(container, "writing the record");
                container->phase = CONTAINER_CREATED;
                container_usage_begin(container);
                result = container_save(container, true, err);
        }
        if (result == 0)
                return 0;
        container->phase = CONTAINER_CREATING;
        struct error cleanup;
        if (container_clean_up(container, true, &cleanup) < 0 ||
            record_remove(node.containers_dir, container->id, &cleanup) < 0) {
                log_failure(&cleanup, "cleaning up after a failed container", "container",
                            container->id, NULL);
                container->clean = false;
        }
        return result;
}

static int join(struct container *container, struct error *err)
{
        task_set_interruptible(true);
        int result = 0;
        while (container->phase == CONTAINER_CREATING && !container->failure && result == 0)
                result = task_wait(&container->settled, CLOCK_NEVER);
        task_set_interruptible(false);
        if (container->failure) {
                if (err)
                        *err = *container->failure;
                return container->failure->number;
        }
        if (container->phase == CONTAINER_CREATING)
                return error_set(err, ERROR_CANCELLED,
                                 "the client went away while the container was being created");
        if (container->phase == CONTAINER_REMOVED)
                return error_set(err, ERROR_ABORTED,
                                 "container %s was removed while it was being created: try again",
                                 container->id);
        return 0;
}

static void settle(struct container *container, const struct error *failure)
{
        if (failure) {
                container->failure = xcalloc(1, sizeof *container->failure);
                *container->failure = *failure;
        }
        event_signal(&container->settled);
}

/* The image that the configuration names must be here; it stays while the container is. */
static int take_image(struct container *container, struct error *err)
{
        const Runtime__V1__ImageSpec *spec = container_config(container)->image;
        const struct image *image = sources_find(node.sources, node.images, spec->image);
        if (!image)
                return error_set(err, ERROR_NOT_FOUND, "image %s is not here: pull it first",
                                 spec->image);
        int result = store_use(node.images, image->id, container->id, err);
        if (result < 0)
                return result;
        container->image_id = xstrdup(image->id);
        container->image_name =
                xstrdup(image->tags && image->tags[0] ? image->tags[0] : spec->image);
        result = image_volumes_take(container, err);
        if (result < 0)
                store_release(node.images, container->image_id, container->id);
        return result;
}

static char *absolute_log_path(const struct container *container)
{
        const char *directory = pod_config(container->pod)->log_directory;
        const char *path = container_config(container)->log_path;
        return *directory && *path ? xprintf("%s/%s", directory, path) : NULL;
}

static int create_new(struct container *container, struct error *err)
{
        container->created_at = clock_real();
        container->clean = true; /* nothing is mounted yet */
        container->log_path = absolute_log_path(container);
        container->phase = CONTAINER_CREATING;
        int result = container_check_target(container, err);
        if (result < 0)
                return result;
        result = take_image(container, err);
        if (result < 0)
                return result;
        container_publish(container);
        task_lock(&container->lock, CLOCK_NEVER);
        task_shield(true);
        result = create(container, err);
        task_shield(false);
        if (result < 0) {
                error_context(err, "create container %s",
                              container_config(container)->metadata->name);
                settle(container, err);
                /* What could not be cleaned up stays with the pod, whose removal tries again. */
                if (container->clean)
                        container_withdraw(container);
                else
                        table_remove(node.container_names, container->name);
        } else {
                settle(container, NULL);
        }
        container_step(container, NULL);
        task_unlock(&container->lock);
        return result;
}

/* What is just being removed is given to nobody: who wants its name waits until it is gone. */
static int await_removal(const char *name, struct error *err)
{
        struct container *other;
        while ((other = table_get(node.container_names, name)) && other->removing) {
                AUTO_CONTAINER struct container *gone = container_ref(other);
                task_set_interruptible(true);
                int result = task_wait(&gone->settled, CLOCK_NEVER);
                task_set_interruptible(false);
                if (result < 0)
                        return error_set(err, ERROR_CANCELLED,
                                         "the client went away while container %s, which has the "
                                         "same name, was being removed",
                                         gone->id);
        }
        return 0;
}

static int require_ready(struct pod *pod, struct error *err)
{
        pod_check(pod);
        if (pod->phase == POD_READY && !pod->stopping)
                return 0;
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "pod %s is not ready: containers need a running pod", pod->id);
}

/* What others decide by the pod's word, admission for one, its containers do not go past. */
static int require_privileged(const struct pod *pod,
                              const Runtime__V1__CreateContainerRequest *request, struct error *err)
{
        const Runtime__V1__LinuxContainerConfig *own = request->config->linux;
        const Runtime__V1__LinuxPodSandboxConfig *its = pod_config(pod)->linux;
        if (!own || !own->security_context || !own->security_context->privileged ||
            (its && its->security_context && its->security_context->privileged))
                return 0;
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "config.linux.security_context.privileged: pod %s is not privileged",
                         pod->id);
}

int container_create_handler(struct rpc *rpc, const void *request_, void *response_,
                             struct error *err)
{
        const Runtime__V1__CreateContainerRequest *request = request_;
        Runtime__V1__CreateContainerResponse *response = response_;
        AUTO_POD struct pod *pod = NULL;
        int result = validate_container(request, err);
        if (result == 0)
                result = pod_find(request->pod_sandbox_id, &pod, err);
        if (result != 0)
                return result;

        char id[ID_LENGTH + 1];
        id_generate(id);
        AUTO_CONTAINER struct container *container = container_new(id, pod, request);
        result = await_removal(container->name, err);
        if (result == 0)
                result = require_ready(pod, err);
        if (result == 0)
                result = require_privileged(pod, request, err);
        if (result < 0)
                return result;
        struct container *other = table_get(node.container_names, container->name);
        if (other && other->phase <= CONTAINER_CREATED) {
                if (!record_same_message(&other->request->base, &request->base))
                        return error_set(err, ERROR_ALREADY_EXISTS,
                                         "container %s, attempt %u: it exists in this pod with "
                                         "another configuration, as %s",
                                         request->config->metadata->name,
                                         request->config->metadata->attempt, other->id);
                container_unref(container);
                container = container_ref(other);
                result = join(container, err);
        } else if (other) {
                return error_set(err, ERROR_ALREADY_EXISTS,
                                 "container %s, attempt %u: it exists in this pod, as %s",
                                 request->config->metadata->name,
                                 request->config->metadata->attempt, other->id);
        } else {
                result = create_new(container, err);
        }
        if (result < 0)
                return result;
        claim(container, rpc);
        response->container_id = arena_strdup(rpc->arena, container->id);
        return 0;
}
