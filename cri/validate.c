#include "cri/validate.h"

#include <arpa/inet.h>
#include <string.h>

#include "cri/validate_private.h"

#define HOSTNAME_MAX 64 /* bytes: the kernel's __NEW_UTS_LEN */

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
                        return validate_invalid(err, field,
                                                "an entry is empty or has a line break");
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
                        return validate_invalid(err, "config.port_mappings.protocol",
                                                "it is TCP, UDP or SCTP");
                if (*port->host_ip && !is_address(port->host_ip))
                        return validate_invalid(err, "config.port_mappings.host_ip",
                                                "not an address");
        }
        return 0;
}

int validate_pod(const Runtime__V1__RunPodSandboxRequest *request, struct error *err)
{
        const Runtime__V1__PodSandboxConfig *config = request->config;
        if (!config)
                return validate_invalid(err, "config", "it is missing");
        const Runtime__V1__PodSandboxMetadata *metadata = config->metadata;
        if (!metadata)
                return validate_invalid(err, "config.metadata", "it is missing");
        int result = validate_name(metadata->name, "config.metadata.name", err);
        if (result == 0)
                result = validate_name(metadata->namespace_, "config.metadata.namespace", err);
        if (result == 0)
                result = validate_name(metadata->uid, "config.metadata.uid", err);
        if (result == 0 && *config->log_directory)
                result = validate_absolute(config->log_directory, "config.log_directory", err);
        if (result == 0 && validate_has_dot_dot(config->log_directory))
                result = validate_invalid(err, "config.log_directory", "it contains \"..\"");
        if (result == 0 && config->windows)
                result = validate_unsupported(err, "config.windows", "Windows pods are");
        if (result == 0 && strlen(config->hostname) > HOSTNAME_MAX)
                result = validate_invalid(err, "config.hostname", "longer than 64 bytes");
        if (result == 0 && strpbrk(config->hostname, "\n/ "))
                result = validate_invalid(err, "config.hostname", "not a host name");
        if (result == 0 && config->dns_config)
                result = check_resolver(config->dns_config, err);
        if (result == 0)
                result = check_ports(config, err);
        if (result < 0)
                return result;
        if (config->n_labels > VALIDATE_LIST_MAX || config->n_annotations > VALIDATE_LIST_MAX)
                return validate_invalid(err, "config.labels", "too many labels or annotations");
        const Runtime__V1__LinuxSandboxSecurityContext *security =
                config->linux ? config->linux->security_context : NULL;
        if (!security)
                return 0;
        if (security->namespace_options &&
            security->namespace_options->pid == RUNTIME__V1__NAMESPACE_MODE__TARGET)
                return validate_invalid(
                        err, "config.linux.security_context.namespace_options.pid",
                        "TARGET is for containers: a pod has no container yet to join");
        return validate_pod_security(security, err);
}
