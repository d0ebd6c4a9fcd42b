#include "cri/annotation.h"

#include <stdio.h>
#include <string.h>

#include "cri/container.h"
#include "cri/pod.h"
#include "cri/workload.h"

#define KEY_MAX 512 /* bytes of NAME/CONTAINER; Kubernetes' own bound for a key is lower */

/* All that are gated; the older form is null where there is none. */
static const struct {
        const char *name, *old;
} names[] = {
        {"cgroup2-mount-hierarchy-rw.crio.io", "io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw"},
        {"cpu-c-states.crio.io", NULL},
        {"cpu-freq-governor.crio.io", NULL},
        {"cpu-load-balancing.crio.io", NULL},
        {"cpu-quota.crio.io", NULL},
        {"cpu-shared.crio.io", NULL},
        {"devices.crio.io", "io.kubernetes.cri-o.Devices"},
        {"disable-fips.crio.io", "io.kubernetes.cri-o.DisableFIPS"},
        {"io.containers.trace-syscall", NULL},
        {"io.kubernetes.cri.rdt-class", NULL},
        {"irq-load-balancing.crio.io", NULL},
        {"link-logs.crio.io", "io.kubernetes.cri-o.LinkLogs"},
        {"org.opencontainers.image.stopSignal", NULL},
        {"platform-runtime-path.crio.io", "io.kubernetes.cri-o.PlatformRuntimePath"},
        {"pod-linux-overhead.crio.io", "io.kubernetes.cri-o.PodLinuxOverhead"},
        {"pod-linux-resources.crio.io", "io.kubernetes.cri-o.PodLinuxResources"},
        {"seccomp-notifier-action.crio.io", "io.kubernetes.cri-o.seccompNotifierAction"},
        {"seccomp-profile.crio.io", "seccomp-profile.kubernetes.cri-o.io"},
        {"shm-size.crio.io", "io.kubernetes.cri-o.ShmSize"},
        {"skip-gomaxprocs.crio.io", NULL},
        {"spoofed.crio.io", "io.kubernetes.cri-o.Spoofed"},
        {"try-skip-volume-selinux-label.crio.io", "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel"},
        {"umask.crio.io", "io.kubernetes.cri-o.umask"},
        {"unified-cgroup.crio.io", "io.kubernetes.cri-o.UnifiedCgroup"},
        {"userns-mode.crio.io", "io.kubernetes.cri-o.userns-mode"},
        /* What runc and crun themselves take from a container's annotations. */
        {"bundle", NULL},
        {"io.kubernetes.cri.container-type", NULL},
        {"module.wasm.image/variant", NULL},
        {"org.criu.config", NULL},
        {"org.systemd.property.", NULL},
        {"run.oci.", NULL},
};
#define NAME_COUNT (sizeof names / sizeof *names)

/* ---- names ---- */

/* Whether key is the name, or the name with a container's or with more after its final dot. */
static bool covers(const char *name, const char *key)
{
        size_t length = name ? strlen(name) : 0;
        if (!length || strncmp(key, name, length) != 0)
                return false;
        return name[length - 1] == '.' || !key[length] || key[length] == '/' || key[length] == '.';
}

/* The place in names of what gates this key; -1 when nothing does. */
static int find(const char *key)
{
        for (size_t i = 0; i < NAME_COUNT; i++)
                if (covers(names[i].name, key) || covers(names[i].old, key))
                        return (int)i;
        return -1;
}

static bool lists(char *const *allowed, size_t which)
{
        for (; allowed && *allowed; allowed++)
                if (strcmp(*allowed, names[which].name) == 0 ||
                    (names[which].old && strcmp(*allowed, names[which].old) == 0))
                        return true;
        return false;
}

bool annotation_is_known(const char *name)
{
        for (size_t i = 0; i < NAME_COUNT; i++)
                if (strcmp(name, names[i].name) == 0 ||
                    (names[i].old && strcmp(name, names[i].old) == 0))
                        return true;
        return false;
}

bool annotation_may_pass(const struct config *config, const struct config_handler *handler,
                         const char *key)
{
        int which = find(key);
        return which < 0 || lists(config->runtime.allowed_annotations, (size_t)which) ||
               (handler && lists(handler->allowed_annotations, (size_t)which));
}

bool annotation_is_true(const char *value)
{
        return value && strcmp(value, "true") == 0;
}

/* ---- values ---- */

/* Of NAME, or of NAME/SUFFIX. */
static const char *pod_value(const struct pod *pod, const char *name, const char *suffix)
{
        const Runtime__V1__PodSandboxConfig *config = pod_config(pod);
        char key[KEY_MAX];
        if (!name || snprintf(key, sizeof key, "%s%s%s", name, suffix ? "/" : "",
                              suffix ? suffix : "") >= (int)sizeof key)
                return NULL;
        for (size_t i = 0; i < config->n_annotations; i++)
                if (strcmp(config->annotations[i]->key, key) == 0)
                        return config->annotations[i]->value;
        return NULL;
}

static const char *own_value(const struct container *container, const char *name)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        for (size_t i = 0; name && i < config->n_annotations; i++)
                if (strcmp(config->annotations[i]->key, name) == 0)
                        return config->annotations[i]->value;
        return NULL;
}

const struct config_handler *annotation_handler(const struct pod *pod)
{
        return config_handler_find(node.config, pod->request->runtime_handler);
}

/* Both forms of a name. */
static void forms(const char *name, const char *form[2])
{
        int which = find(name);
        form[0] = which < 0 ? name : names[which].name;
        form[1] = which < 0 ? NULL : names[which].old;
}

static const char *find_value(const struct pod *pod, const struct container *container,
                              const char *name)
{
        const char *form[2], *value = NULL;
        forms(name, form);
        const char *suffixes[] = {container ? container_config(container)->metadata->name : "POD",
                                  "POD", NULL};
        for (size_t i = 0; !value && i < sizeof suffixes / sizeof *suffixes; i++)
                for (size_t k = 0; !value && k < 2; k++)
                        value = pod_value(pod, form[k], suffixes[i]);
        for (size_t k = 0; container && !value && k < 2; k++)
                value = own_value(container, form[k]);
        return value;
}

/* Under the pod's handler, or as one of the node's workloads. */
static bool may_use(const struct pod *pod, const char *name)
{
        if (annotation_may_pass(node.config, annotation_handler(pod), name))
                return true;
        const struct config_workload *workload = workload_of(node.config, pod);
        int which = find(name);
        return workload && which >= 0 && lists(workload->allowed_annotations, (size_t)which);
}

const char *annotation_of_pod(const struct pod *pod, const char *name)
{
        return may_use(pod, name) ? find_value(pod, NULL, name) : NULL;
}

const char *annotation_of_container(const struct container *container, const char *name)
{
        return may_use(container->pod, name) ? find_value(container->pod, container, name) : NULL;
}
