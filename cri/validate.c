#include "cri/validate.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOSTNAME_MAX 64           /* bytes: the kernel's __NEW_UTS_LEN */
#define ARGUMENT_MAX (128 * 1024) /* bytes with the final zero: the kernel's MAX_ARG_STRLEN */

static int invalid(struct error *err, const char *field, const char *why)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s", field, why);
}

static int unsupported(struct error *err, const char *field, const char *what)
{
        return error_set(err, ERROR_UNIMPLEMENTED, "%s: %s not supported by this version of crisp",
                         field, what);
}

/* A part of a pod's or container's key: present, bounded, without the slash that joins the parts.
 */
static int check_name(const char *value, const char *field, struct error *err)
{
        if (!*value)
                return invalid(err, field, "it must not be empty");
        if (strlen(value) > VALIDATE_NAME_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: longer than %d bytes", field,
                                 VALIDATE_NAME_MAX);
        if (strchr(value, '/'))
                return invalid(err, field, "it must not contain a slash");
        return 0;
}

/* No component may lead upwards. */
static bool has_dot_dot(const char *path)
{
        for (const char *part = path; part; part = strchr(part, '/')) {
                part += *part == '/';
                if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || !part[2]))
                        return true;
        }
        return false;
}

static int check_absolute(const char *path, const char *field, struct error *err)
{
        if (*path != '/')
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: \"%s\" is not an absolute path",
                                 field, path);
        if (strlen(path) >= PATH_MAX)
                return invalid(err, field, "the path is too long");
        return 0;
}

static int check_selinux(const Runtime__V1__SELinuxOption *options, const char *field,
                         struct error *err)
{
        if (options && (*options->user || *options->role || *options->type || *options->level))
                return unsupported(err, field, "SELinux labels are");
        return 0;
}

/* An IPv4 or IPv6 address, which may name its interface ("fe80::1%eth0"). */
static bool is_address(const char *text)
{
        char address[INET6_ADDRSTRLEN];
        unsigned char bytes[16];
        size_t length = strcspn(text, "%");
        if (length >= sizeof address)
                return false;
        memcpy(address, text, length);
        address[length] = '\0';
        return inet_pton(AF_INET, address, bytes) == 1 || inet_pton(AF_INET6, address, bytes) == 1;
}

/* These become lines of resolv.conf. */
static int check_words(char **words, size_t count, const char *field, struct error *err)
{
        for (size_t i = 0; i < count; i++)
                if (!*words[i] || strpbrk(words[i], "\n\r"))
                        return invalid(err, field, "an entry is empty or has a line break");
        return 0;
}

static int check_resolver(const Runtime__V1__DNSConfig *dns, struct error *err)
{
        for (size_t i = 0; i < dns->n_servers; i++)
                if (!is_address(dns->servers[i]))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "config.dns_config.servers: \"%s\" is not an address",
                                         dns->servers[i]);
        int result = check_words(dns->searches, dns->n_searches, "config.dns_config.searches", err);
        return result < 0 ? result
                          : check_words(dns->options, dns->n_options, "config.dns_config.options",
                                        err);
}

static int check_namespaces(const Runtime__V1__NamespaceOption *options, const char *field,
                            struct error *err)
{
        if (!options)
                return 0;
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__TARGET)
                return error_set(err, ERROR_UNIMPLEMENTED,
                                 "%s.pid: TARGET is not supported by this version of crisp", field);
        if (options->userns_options &&
            options->userns_options->mode != RUNTIME__V1__NAMESPACE_MODE__NODE)
                return error_set(err, ERROR_UNIMPLEMENTED,
                                 "%s.userns_options: user namespaces are not supported by this "
                                 "version of crisp",
                                 field);
        if (options->network != RUNTIME__V1__NAMESPACE_MODE__POD &&
            options->network != RUNTIME__V1__NAMESPACE_MODE__NODE)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s.network: it is POD or NODE",
                                 field);
        if (options->ipc != RUNTIME__V1__NAMESPACE_MODE__POD &&
            options->ipc != RUNTIME__V1__NAMESPACE_MODE__NODE)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s.ipc: it is POD or NODE", field);
        if (options->pid > RUNTIME__V1__NAMESPACE_MODE__TARGET)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s.pid: it is POD, CONTAINER or NODE", field);
        return 0;
}

static int check_ports(const Runtime__V1__PodSandboxConfig *config, struct error *err)
{
        for (size_t i = 0; i < config->n_port_mappings; i++) {
                const Runtime__V1__PortMapping *port = config->port_mappings[i];
                if (port->host_port < 0 || port->host_port > 65535)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "config.port_mappings: host_port %d", port->host_port);
                if (port->host_port && (port->container_port < 1 || port->container_port > 65535))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "config.port_mappings: container_port %d",
                                         port->container_port);
                if (port->protocol > RUNTIME__V1__PROTOCOL__SCTP)
                        return invalid(err, "config.port_mappings.protocol",
                                       "it is TCP, UDP or SCTP");
                if (*port->host_ip && !is_address(port->host_ip))
                        return invalid(err, "config.port_mappings.host_ip", "not an address");
        }
        return 0;
}

int validate_pod(const Runtime__V1__RunPodSandboxRequest *request, struct error *err)
{
        const Runtime__V1__PodSandboxConfig *config = request->config;
        if (!config)
                return invalid(err, "config", "it is missing");
        const Runtime__V1__PodSandboxMetadata *metadata = config->metadata;
        if (!metadata)
                return invalid(err, "config.metadata", "it is missing");
        int result = check_name(metadata->name, "config.metadata.name", err);
        if (result == 0)
                result = check_name(metadata->namespace_, "config.metadata.namespace", err);
        if (result == 0)
                result = check_name(metadata->uid, "config.metadata.uid", err);
        if (result == 0 && *config->log_directory)
                result = check_absolute(config->log_directory, "config.log_directory", err);
        if (result == 0 && has_dot_dot(config->log_directory))
                result = invalid(err, "config.log_directory", "it contains \"..\"");
        if (result == 0 && config->windows)
                result = unsupported(err, "config.windows", "Windows pods are");
        if (result == 0 && strlen(config->hostname) > HOSTNAME_MAX)
                result = invalid(err, "config.hostname", "longer than 64 bytes");
        if (result == 0 && strpbrk(config->hostname, "\n/ "))
                result = invalid(err, "config.hostname", "not a host name");
        if (result == 0 && config->dns_config)
                result = check_resolver(config->dns_config, err);
        if (result == 0)
                result = check_ports(config, err);
        if (result < 0)
                return result;
        if (config->n_labels > VALIDATE_LIST_MAX || config->n_annotations > VALIDATE_LIST_MAX)
                return invalid(err, "config.labels", "too many labels or annotations");
        const Runtime__V1__LinuxSandboxSecurityContext *security =
                config->linux ? config->linux->security_context : NULL;
        if (!security)
                return 0;
        result = check_namespaces(security->namespace_options,
                                  "config.linux.security_context.namespace_options", err);
        if (result == 0)
                result = check_selinux(security->selinux_options,
                                       "config.linux.security_context.selinux_options", err);
        return result;
}

/* ---- containers ---- */

static bool apparmor_is_on(void)
{
        return access("/sys/module/apparmor/parameters/enabled", F_OK) == 0 &&
               access("/sys/kernel/security/apparmor/profiles", F_OK) == 0;
}

static int check_profiles(const Runtime__V1__LinuxContainerSecurityContext *security,
                          struct error *err)
{
        static const char seccomp_field[] = "config.linux.security_context.seccomp";
        static const char apparmor_field[] = "config.linux.security_context.apparmor";
        const Runtime__V1__SecurityProfile *seccomp = security->seccomp;
        const Runtime__V1__SecurityProfile *apparmor = security->apparmor;
        if (seccomp &&
            seccomp->profile_type != RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Unconfined)
                return unsupported(err, seccomp_field, "seccomp profiles are");
        const char *path = security->seccomp_profile_path;
        if (!seccomp && *path && strcmp(path, "unconfined") != 0)
                return unsupported(err, seccomp_field, "seccomp profiles are");
        /* Where the kernel has no AppArmor, the runtime's default is what it does without one. */
        const char *name = security->apparmor_profile;
        bool localhost = apparmor ? apparmor->profile_type ==
                                            RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost
                                  : strncmp(name, "localhost/", 10) == 0;
        bool wants_default =
                apparmor ? apparmor->profile_type ==
                                   RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault
                         : strcmp(name, "runtime/default") == 0;
        if (localhost || (wants_default && apparmor_is_on()))
                return unsupported(err, apparmor_field, "AppArmor profiles are");
        return 0;
}

/* It has no host path and no mounts that could spread, and nobody writes to it. */
static int check_image_mount(const Runtime__V1__Mount *mount, struct error *err)
{
        if (*mount->host_path)
                return invalid(err, "config.mounts", "both an image and a host_path");
        if (!mount->readonly)
                return invalid(err, "config.mounts.readonly", "false, but images are read-only");
        if (mount->propagation != RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
                return invalid(err, "config.mounts.propagation",
                               "an image has no mounts that could spread");
        return 0;
}

static int check_mount(const Runtime__V1__Mount *mount, struct error *err)
{
        static const char field[] = "config.mounts";
        int result = check_absolute(mount->container_path, "config.mounts.container_path", err);
        if (result < 0)
                return result;
        if (mount->n_uidmappings || mount->n_gidmappings)
                return unsupported(err, "config.mounts.uidMappings", "id-mapped mounts are");
        if (mount->recursive_read_only)
                return unsupported(err, field, "recursive read-only mounts are");
        if (mount->n_mount_options)
                return unsupported(err, field, "mount options are");
        if (mount->image && *mount->image->image)
                result = check_image_mount(mount, err);
        else
                result = check_absolute(mount->host_path, "config.mounts.host_path", err);
        if (result == 0 && has_dot_dot(mount->container_path))
                result = invalid(err, "config.mounts.container_path", "it contains \"..\"");
        if (result == 0 &&
            mount->propagation > RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
                result = invalid(err, "config.mounts.propagation", "unknown value");
        return result;
}

static int check_security(const Runtime__V1__LinuxContainerSecurityContext *security,
                          struct error *err)
{
        int result = check_profiles(security, err);
        if (result == 0)
                result = check_namespaces(security->namespace_options,
                                          "config.linux.security_context.namespace_options", err);
        if (result == 0)
                result = check_selinux(security->selinux_options,
                                       "config.linux.security_context.selinux_options", err);
        if (result < 0)
                return result;
        if (security->capabilities && security->capabilities->n_add_ambient_capabilities)
                return unsupported(err, "config.linux.security_context.capabilities",
                                   "ambient capabilities are");
        if (security->run_as_group && !security->run_as_user && !*security->run_as_username)
                return invalid(err, "config.linux.security_context.run_as_group",
                               "it needs run_as_user or run_as_username");
        return 0;
}

/* The kernel's MAX_ARG_STRLEN: with a longer one the container would be made and then fail to
 * start. */
static int check_words_of_command(char **words, size_t count, const char *field, struct error *err)
{
        for (size_t i = 0; i < count; i++)
                if (strlen(words[i]) >= ARGUMENT_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s: an argument of %zu bytes, the kernel takes %d", field,
                                         strlen(words[i]), ARGUMENT_MAX - 1);
        return 0;
}

/* Zero leaves the kernel's default; -1 lifts a limit where there is one to lift. */
static int check_resources(const Runtime__V1__LinuxContainerResources *resources, struct error *err)
{
        static const char field[] = "config.linux.resources";
        const struct {
                const char *name;
                int64_t value, least;
        } numbers[] = {
                {"cpu_period", resources->cpu_period, 0},
                {"cpu_quota", resources->cpu_quota, -1},
                {"cpu_shares", resources->cpu_shares, 0},
                {"memory_limit_in_bytes", resources->memory_limit_in_bytes, -1},
                {"memory_swap_limit_in_bytes", resources->memory_swap_limit_in_bytes, -1},
        };
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
                if (numbers[i].value < numbers[i].least)
                        return error_set(err, ERROR_INVALID_ARGUMENT, "%s.%s: %lld", field,
                                         numbers[i].name, (long long)numbers[i].value);
        if (resources->oom_score_adj < -1000 || resources->oom_score_adj > 1000)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s.oom_score_adj: %lld", field,
                                 (long long)resources->oom_score_adj);
        return 0;
}

static int check_variables(const Runtime__V1__ContainerConfig *config, struct error *err)
{
        for (size_t i = 0; i < config->n_envs; i++) {
                const Runtime__V1__KeyValue *variable = config->envs[i];
                if (!*variable->key || strchr(variable->key, '='))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "config.envs: \"%s\" is not a variable's name",
                                         variable->key);
                if (strlen(variable->key) + variable->value.len + 2 > ARGUMENT_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "config.envs: the value of %s is too long", variable->key);
                if (variable->value.len && memchr(variable->value.data, '\0', variable->value.len))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "config.envs: the value of %s contains a zero byte",
                                         variable->key);
        }
        return 0;
}

int validate_container(const Runtime__V1__CreateContainerRequest *request, struct error *err)
{
        const Runtime__V1__ContainerConfig *config = request->config;
        if (!*request->pod_sandbox_id)
                return invalid(err, "pod_sandbox_id", "it must not be empty");
        if (!config)
                return invalid(err, "config", "it is missing");
        if (!config->metadata)
                return invalid(err, "config.metadata", "it is missing");
        int result = check_name(config->metadata->name, "config.metadata.name", err);
        if (result < 0)
                return result;
        if (!config->image || !*config->image->image)
                return invalid(err, "config.image.image", "it must not be empty");
        if (*config->log_path == '/')
                return invalid(err, "config.log_path",
                               "it must be relative to the pod's log_directory");
        if (config->windows)
                return unsupported(err, "config.windows", "Windows containers are");
        if (has_dot_dot(config->log_path))
                return invalid(err, "config.log_path", "it contains \"..\"");
        if (*config->working_dir && *config->working_dir != '/')
                return invalid(err, "config.working_dir", "not an absolute path");
        if (config->n_devices)
                return unsupported(err, "config.devices", "devices are");
        if (config->n_cdi_devices)
                return unsupported(err, "config.CDI_devices", "CDI devices are");
        if (config->n_envs > VALIDATE_LIST_MAX || config->n_mounts > VALIDATE_LIST_MAX ||
            config->n_command > VALIDATE_LIST_MAX || config->n_args > VALIDATE_LIST_MAX ||
            config->n_labels > VALIDATE_LIST_MAX || config->n_annotations > VALIDATE_LIST_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "config: a list has more than %d entries", VALIDATE_LIST_MAX);
        result = check_variables(config, err);
        if (result == 0)
                result = check_words_of_command(config->command, config->n_command,
                                                "config.command", err);
        if (result == 0)
                result = check_words_of_command(config->args, config->n_args, "config.args", err);
        if (result == 0 && config->linux && config->linux->resources)
                result = check_resources(config->linux->resources, err);
        for (size_t i = 0; result == 0 && i < config->n_mounts; i++)
                result = check_mount(config->mounts[i], err);
        if (result == 0 && config->linux && config->linux->security_context)
                result = check_security(config->linux->security_context, err);
        return result;
}
