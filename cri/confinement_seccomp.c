/* Which seccomp profile a container gets. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/confinement.h"
#include "cri/container.h"
#include "cri/seccomp_notifier.h"
#include "oci/seccomp_profile.h"

static const char seccomp_field[] = "config.linux.security_context.seccomp";

/*
 * The distribution's profile lets every container make namespaces, which Kubernetes' users do not
 * expect; with a profile that somebody put there on purpose we do not interfere.
 */
static int load_default(const char *path, json_t **profile, struct error *err)
{
        bool distribution = strcmp(path, CONFIG_SECCOMP_PROFILE) == 0;
        if (*path) {
                int result = seccomp_profile_load(path, profile, err);
                if (result == 0 && distribution)
                        seccomp_profile_guard(*profile);
                if (result != -ENOENT || !distribution)
                        return result;
        }
        *profile = seccomp_profile_default();
        return 0;
}

/* A relative path is one below the kubelet's folder, which it may not leave. */
static int load_localhost(const char *name, json_t **profile, struct error *err)
{
        if (*name == '/')
                return seccomp_profile_load(name, profile, err);
        const char *root = node.config->runtime.seccomp_root;
        AUTO_FD int folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0)
                return error_errno(err, errno, "open %s", root);
        AUTO_FD int fd = file_open_in(folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
        if (fd < 0)
                return error_context(err, "%s", root);
        AUTO_FREE char *path = xprintf("%s/%s", root, name);
        return seccomp_profile_load_fd(fd, path, profile, err);
}

/* Whose words an error is in: what the pod asked for, or the one who runs the node. */
static int load(const struct confinement_choice *choice, const char *standard, json_t **profile,
                struct error *err)
{
        int result;
        if (choice->kind == CONFINEMENT_LOCALHOST) {
                result = load_localhost(choice->name, profile, err);
                if (result < 0) {
                        err->code = ERROR_INVALID_ARGUMENT;
                        error_context(err, "%s: profile %s", seccomp_field, choice->name);
                }
                return result;
        }
        result = load_default(standard, profile, err);
        if (result < 0) {
                err->code = ERROR_FAILED_PRECONDITION;
                error_context(err, "%s: the node's default profile", seccomp_field);
        }
        return result;
}

static const char *default_of(const struct pod *pod)
{
        const struct config_handler *handler =
                pod->handler ? config_handler_find(node.config, pod->handler->name) : NULL;
        return handler ? handler->seccomp_profile : node.config->runtime.seccomp_profile;
}

int confinement_seccomp_choice(const struct container *container, struct confinement_choice *choice,
                               struct error *err)
{
        const Runtime__V1__LinuxContainerSecurityContext *security = container_security(container);
        int result = confinement_choice(security->seccomp, security->seccomp_profile_path,
                                        seccomp_field, choice, err);
        if (result == 0 && security->privileged) {
                const char *path = node.config->runtime.privileged_seccomp_profile;
                *choice = (struct confinement_choice){
                        *path ? CONFINEMENT_LOCALHOST : CONFINEMENT_UNCONFINED, path};
        }
        return result;
}

static int load_artifact(const struct confinement *confinement, json_t **profile, struct error *err)
{
        const struct buffer *text = &confinement->seccomp_profile;
        int result = seccomp_profile_parse(text->data ? text->data : "", text->length,
                                           confinement->seccomp_artifact, profile, err);
        return result < 0 ? error_context(err, "seccomp profile") : 0;
}

/* Whether to go on without: every pod asks for the default, and a node whose kernel has no seccomp
 * would run none. */
static int check_kernel(const struct container *container, const char *name, struct error *err)
{
        if (name)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%s: profile %s: this node's kernel has no seccomp", seccomp_field,
                                 name);
        log_warning("this kernel has no seccomp: the container runs without", "container",
                    container->id, NULL);
        return 0;
}

int confinement_seccomp(const struct container *container, const struct confinement *confinement,
                        const char *const *capabilities, json_t **seccomp, struct error *err)
{
        struct confinement_choice choice;
        AUTO_JSON json_t *profile = NULL;
        const char *artifact = confinement->seccomp_artifact;
        *seccomp = NULL;
        int result = confinement_seccomp_choice(container, &choice, err);
        if (result < 0 || (!artifact && (choice.kind == CONFINEMENT_UNSET ||
                                         choice.kind == CONFINEMENT_UNCONFINED)))
                return result;
        const char *name = artifact ? artifact : choice.name;
        if (!seccomp_profile_is_supported())
                return check_kernel(container, name, err);
        result = artifact ? load_artifact(confinement, &profile, err)
                          : load(&choice, default_of(container->pod), &profile, err);
        if (result == 0 && container->seccomp_notifies) {
                AUTO_FREE char *path = seccomp_notifier_path(container);
                seccomp_profile_notify(profile, path);
        }
        if (result == 0)
                result = seccomp_profile_translate(
                        profile, capabilities, name ? name : "the default profile", seccomp, err);
        return result;
}

int confinement_check_pod(const struct pod *pod, struct error *err)
{
        const Runtime__V1__LinuxPodSandboxConfig *config = pod_config(pod)->linux;
        const Runtime__V1__LinuxSandboxSecurityContext *security =
                config ? config->security_context : NULL;
        struct confinement_choice choice;
        AUTO_JSON json_t *profile = NULL;
        if (!security || security->privileged)
                return 0;
        int result = confinement_choice(security->seccomp, security->seccomp_profile_path,
                                        seccomp_field, &choice, err);
        if (result < 0 || choice.kind != CONFINEMENT_LOCALHOST)
                return result;
        return load(&choice, "", &profile, err);
}
