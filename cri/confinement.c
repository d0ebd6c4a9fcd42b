/* Which profiles a request means, and AppArmor's. */
#include "cri/confinement.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cri/container.h"
#include "cri/seccomp_artifact.h"
#include "oci/apparmor.h"

#define LOAD_DEADLINE (30 * NSEC_PER_SEC)

static const char localhost_prefix[] = "localhost/";

static int choose_localhost(const char *name, const char *field, struct confinement_choice *choice,
                            struct error *err)
{
        if (strncmp(name, localhost_prefix, sizeof localhost_prefix - 1) == 0)
                name += sizeof localhost_prefix - 1;
        if (!*name)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: Localhost without the name of a profile", field);
        *choice = (struct confinement_choice){CONFINEMENT_LOCALHOST, name};
        return 0;
}

static int choose_text(const char *text, const char *field, struct confinement_choice *choice,
                       struct error *err)
{
        choice->name = NULL;
        if (!*text)
                choice->kind = CONFINEMENT_UNSET;
        else if (strcmp(text, "runtime/default") == 0 || strcmp(text, "docker/default") == 0)
                choice->kind = CONFINEMENT_DEFAULT;
        else if (strcmp(text, "unconfined") == 0)
                choice->kind = CONFINEMENT_UNCONFINED;
        else if (strncmp(text, localhost_prefix, sizeof localhost_prefix - 1) == 0)
                return choose_localhost(text, field, choice, err);
        else
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: \"%.200s\": it is runtime/default, unconfined or "
                                 "localhost/NAME",
                                 field, text);
        return 0;
}

int confinement_choice(const Runtime__V1__SecurityProfile *profile, const char *text,
                       const char *field, struct confinement_choice *choice, struct error *err)
{
        if (!profile)
                return choose_text(text, field, choice, err);
        if (profile->profile_type == RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost)
                return choose_localhost(profile->localhost_ref, field, choice, err);
        if (*profile->localhost_ref)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s.localhost_ref: it is for the profile type Localhost alone",
                                 field);
        choice->name = NULL;
        switch (profile->profile_type) {
        case RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault:
                choice->kind = CONFINEMENT_DEFAULT;
                return 0;
        case RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Unconfined:
                choice->kind = CONFINEMENT_UNCONFINED;
                return 0;
        default:
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s.profile_type: %d", field,
                                 (int)profile->profile_type);
        }
}

void confinement_fini(struct confinement *confinement)
{
        free(confinement->apparmor_profile);
        buffer_fini(&confinement->seccomp_profile);
        selinux_labels_fini(&confinement->labels);
        *confinement = (struct confinement){0};
}

/* ---- AppArmor ---- */

static const char apparmor_field[] = "config.linux.security_context.apparmor";

/* Our own profile is loaded when somebody needs it: whoever unloads all profiles while the node
 * runs does not stop its pods. */
static int require_loaded(const char *name, bool own, struct error *err)
{
        int loaded = apparmor_is_loaded("", name, err);
        if (loaded == 0 && own)
                return apparmor_load("", name, clock_after(LOAD_DEADLINE), err);
        if (loaded == 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%s: profile %s is not loaded on this node", apparmor_field, name);
        return loaded < 0 ? loaded : 0;
}

static int prepare_apparmor(const struct container *container, struct confinement *confinement,
                            struct error *err)
{
        const Runtime__V1__LinuxContainerSecurityContext *security = container_security(container);
        struct confinement_choice choice;
        int result = confinement_choice(security->apparmor, security->apparmor_profile,
                                        apparmor_field, &choice, err);
        if (result < 0 || choice.kind == CONFINEMENT_UNCONFINED)
                return result;
        bool by_name = choice.kind == CONFINEMENT_LOCALHOST;
        if (!apparmor_is_enabled("")) {
                /* The default is then what such a kernel gives all. */
                if (!by_name)
                        return 0;
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%s: profile %s: this node's kernel has no AppArmor",
                                 apparmor_field, choice.name);
        }
        const char *name = by_name ? choice.name : node.config->runtime.apparmor_profile;
        /* A privileged container is under a profile only where the request names one. */
        if (strcmp(name, "unconfined") == 0 || (security->privileged && !by_name))
                return 0;
        result = require_loaded(name, strcmp(name, CONFIG_APPARMOR_PROFILE) == 0, err);
        if (result == 0)
                confinement->apparmor_profile = xstrdup(name);
        return result;
}

/* ---- SELinux ---- */

static struct selinux_options options_of(const Runtime__V1__SELinuxOption *options)
{
        if (!options)
                return (struct selinux_options){0};
        return (struct selinux_options){options->user, options->role, options->type,
                                        options->level};
}

static bool is_of_the_host(const Runtime__V1__NamespaceOption *namespaces)
{
        return namespaces->pid == RUNTIME__V1__NAMESPACE_MODE__NODE ||
               namespaces->ipc == RUNTIME__V1__NAMESPACE_MODE__NODE;
}

static bool level_is_taken(const char *level)
{
        size_t cursor = 0;
        for (const struct pod *pod; (pod = table_next(node.pods, &cursor, NULL));)
                if (pod->selinux_label && strcmp(selinux_level(pod->selinux_label), level) == 0)
                        return true;
        return false;
}

int confinement_label_pod(struct pod *pod, struct error *err)
{
        const Runtime__V1__LinuxPodSandboxConfig *config = pod_config(pod)->linux;
        const Runtime__V1__LinuxSandboxSecurityContext *security =
                config ? config->security_context : NULL;
        AUTO_SELINUX_LABELS struct selinux_labels labels = {0};
        char level[SELINUX_LEVEL_MAX];
        if (!node.selinux || is_of_the_host(pod_namespaces(pod)) ||
            (security && security->privileged))
                return 0;
        /* There are half a million pairs, and far fewer pods. */
        do
                selinux_level_new(level);
        while (level_is_taken(level));
        struct selinux_options options = options_of(security ? security->selinux_options : NULL);
        int result = selinux_labels(node.selinux, NULL, level, &options, &labels, err);
        if (result < 0)
                return error_context(err, "config.linux.security_context");
        pod->selinux_label = take_ptr(labels.process);
        pod->selinux_mount_label = take_ptr(labels.mount);
        return 0;
}

static int prepare_selinux(const struct container *container, struct confinement *confinement,
                           struct error *err)
{
        const Runtime__V1__LinuxContainerSecurityContext *security = container_security(container);
        const struct pod *pod = container->pod;
        const Runtime__V1__NamespaceOption *namespaces =
                security->namespace_options ? security->namespace_options : pod_namespaces(pod);
        struct selinux_options options = options_of(security->selinux_options);
        struct selinux_labels *labels = &confinement->labels;
        char level[SELINUX_LEVEL_MAX];
        /* A container that sees the host's processes or their memory is not kept from them. */
        if (!node.selinux || is_of_the_host(namespaces))
                return 0;
        selinux_level_new(level);
        int result = selinux_labels(node.selinux, pod->selinux_label, level, &options, labels, err);
        if (result < 0)
                return error_context(err, "config.linux.security_context");
        bool host_network = namespaces->network == RUNTIME__V1__NAMESPACE_MODE__NODE &&
                            node.config->runtime.hostnetwork_disable_selinux;
        if (security->privileged || host_network) {
                free(labels->process);
                labels->process = NULL;
        } else if (pod->handler && pod->handler->kind == RUNTIME_KIND_SHIM) {
                char *label = selinux_kvm_label(node.selinux, labels->process);
                free(labels->process);
                labels->process = label;
        }
        return 0;
}

/* A profile in the request goes before an artifact; a privileged container gets none from its pod.
 */
static int prepare_seccomp(const struct container *container, struct confinement *confinement,
                           struct error *err)
{
        struct confinement_choice choice;
        const char *name = seccomp_artifact_name(container);
        int result = confinement_seccomp_choice(container, &choice, err);
        if (result < 0 || !name || container_security(container)->privileged ||
            (choice.kind != CONFINEMENT_UNSET && choice.kind != CONFINEMENT_UNCONFINED))
                return result;
        confinement->seccomp_artifact = name;
        return seccomp_artifact_fetch(container, name, &confinement->seccomp_profile, err);
}

int confinement_prepare(const struct container *container, struct confinement *confinement,
                        struct error *err)
{
        int result = prepare_apparmor(container, confinement, err);
        if (result == 0)
                result = prepare_selinux(container, confinement, err);
        return result < 0 ? result : prepare_seccomp(container, confinement, err);
}
