#include "network/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "base/task.h"

#define RECEIVE_SIZE (64 * 1024)
#define TIMEOUT_SEC  5
#define FLOWS_MAX    65536 /* of one port: what is beyond is left to the next time */

struct job {
        uint16_t port;
        struct error *err;
};

/* ---- attributes ---- */

/* The attribute of this type among those in length bytes at start; null where there is none. */
static const struct nlattr *find(const void *start, size_t length, unsigned type)
{
        const char *at = start;
        while (length >= NLA_HDRLEN) {
                struct nlattr attribute;
                memcpy(&attribute, at, sizeof attribute);
                if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > length)
                        return NULL;
                if ((attribute.nla_type & NLA_TYPE_MASK) == type)
                        return (const struct nlattr *)(const void *)at;
                size_t step = NLA_ALIGN((size_t)attribute.nla_len);
                if (step >= length)
                        return NULL;
                at += step;
                length -= step;
        }
        return NULL;
}

static const void *payload(const struct nlattr *attribute, size_t *length)
{
        struct nlattr header;
        memcpy(&header, attribute, sizeof header);
        *length = (size_t)header.nla_len - NLA_HDRLEN;
        return (const char *)attribute + NLA_HDRLEN;
}

int conntrack_match_udp(const void *message, size_t length, uint16_t port,
                        const struct nlattr **tuple)
{
        size_t header = NLMSG_ALIGN(sizeof(struct nfgenmsg)), inner, size;
        if (length < header)
                return -ENOENT;
        const struct nlattr *original =
                find((const char *)message + header, length - header, CTA_TUPLE_ORIG);
        if (!original)
                return -ENOENT;
        const void *parts = payload(original, &inner);
        const struct nlattr *protocol = find(parts, inner, CTA_TUPLE_PROTO);
        if (!protocol)
                return -ENOENT;
        parts = payload(protocol, &inner);
        const struct nlattr *number = find(parts, inner, CTA_PROTO_NUM);
        const struct nlattr *to = find(parts, inner, CTA_PROTO_DST_PORT);
        if (!number || !to)
                return -ENOENT;
        const uint8_t *value = payload(number, &size);
        if (size < 1 || *value != IPPROTO_UDP)
                return -ENOENT;
        uint16_t wire;
        const void *bytes = payload(to, &size);
        if (size < sizeof wire)
                return -ENOENT;
        memcpy(&wire, bytes, sizeof wire);
        if (ntohs(wire) != port)
                return -ENOENT;
        *tuple = original;
        return 0;
}

/* ---- the kernel ---- */

struct request {
        struct nlmsghdr header;
        struct nfgenmsg generic;
};

static struct request new_request(uint16_t type, uint16_t flags, uint8_t family)
{
        return (struct request){
                .header = {.nlmsg_len = sizeof(struct request),
                           .nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type),
                           .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)},
                .generic = {.nfgen_family = family, .version = NFNETLINK_V0},
        };
}

static int open_socket(struct error *err)
{
        AUTO_FD int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
        struct timeval patience = {.tv_sec = TIMEOUT_SEC};
        if (fd < 0)
                return error_errno(err, errno, "conntrack: socket");
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0)
                return error_errno(err, errno, "conntrack: set a time-out");
        return take_fd(&fd);
}

/* Asks for the deletion of one flow and hears what became of it; one that ended meanwhile is fine.
 */
static int forget(int fd, uint8_t family, const struct nlattr *tuple, struct error *err)
{
        char bytes[1024] __attribute__((aligned(NLMSG_ALIGNTO)));
        struct request request = new_request(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, family);
        size_t size = NLA_ALIGN((size_t)tuple->nla_len);
        if (sizeof request + size > sizeof bytes)
                return error_set(err, ERROR_INTERNAL, "conntrack: a flow of %zu bytes", size);
        request.header.nlmsg_len += (uint32_t)size;
        memset(bytes, 0, sizeof bytes);
        memcpy(bytes, &request, sizeof request);
        memcpy(bytes + sizeof request, tuple, tuple->nla_len);
        if (send(fd, bytes, request.header.nlmsg_len, 0) < 0)
                return error_errno(err, errno, "conntrack: delete a flow");
        ssize_t length = recv(fd, bytes, sizeof bytes, 0);
        if (length < 0)
                return error_errno(err, errno, "conntrack: delete a flow");
        const struct nlmsghdr *answer = (const struct nlmsghdr *)(const void *)bytes;
        if ((size_t)length < NLMSG_LENGTH(sizeof(struct nlmsgerr)) ||
            answer->nlmsg_type != NLMSG_ERROR)
                return error_set(err, ERROR_INTERNAL, "conntrack: an answer of another kind");
        const struct nlmsgerr *error = (const struct nlmsgerr *)(const void *)NLMSG_DATA(answer);
        if (error->error && error->error != -ENOENT)
                return error_errno(err, error->error, "conntrack: delete a flow");
        return 0;
}

struct flows {
        struct nlattr **tuples; /* copies */
        size_t count;
};

/* One datagram of a dump; *done at its end. */
static int take(const char *bytes, size_t length, uint16_t port, struct flows *flows, bool *done,
                struct error *err)
{
        const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)bytes;
        for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
                const struct nlattr *tuple;
                if (message->nlmsg_type == NLMSG_DONE) {
                        *done = true;
                        return 0;
                }
                if (message->nlmsg_type == NLMSG_ERROR) {
                        if (message->nlmsg_len < NLMSG_LENGTH(sizeof(struct nlmsgerr)))
                                return error_set(err, ERROR_INTERNAL, "conntrack: a short answer");
                        const struct nlmsgerr *error =
                                (const struct nlmsgerr *)(const void *)NLMSG_DATA(message);
                        return error_errno(err, error->error, "conntrack: list flows");
                }
                if (flows->count == FLOWS_MAX ||
                    conntrack_match_udp(NLMSG_DATA(message), message->nlmsg_len - NLMSG_HDRLEN,
                                        port, &tuple) < 0)
                        continue;
                struct nlattr *copy = xcalloc(1, NLA_ALIGN((size_t)tuple->nla_len));
                memcpy(copy, tuple, tuple->nla_len);
                flows->tuples =
                        xrealloc(flows->tuples, (flows->count + 1) * sizeof(struct nlattr *));
                flows->tuples[flows->count++] = copy;
        }
        return 0;
}

static int list(int fd, uint8_t family, uint16_t port, struct flows *flows, struct error *err)
{
        struct request request = new_request(IPCTNL_MSG_CT_GET, NLM_F_DUMP, family);
        AUTO_FREE char *bytes = xcalloc(1, RECEIVE_SIZE);
        bool done = false;
        if (send(fd, &request, sizeof request, 0) < 0)
                return error_errno(err, errno, "conntrack: list flows");
        while (!done) {
                ssize_t length = recv(fd, bytes, RECEIVE_SIZE, 0);
                if (length < 0)
                        return error_errno(err, errno, "conntrack: list flows");
                int result = take(bytes, (size_t)length, port, flows, &done, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

static int forget_family(uint8_t family, uint16_t port, struct error *err)
{
        AUTO_FD int fd = open_socket(err);
        struct flows flows = {0};
        if (fd < 0)
                return fd;
        int result = list(fd, family, port, &flows, err);
        for (size_t i = 0; i < flows.count; i++) {
                if (result == 0)
                        result = forget(fd, family, flows.tuples[i], err);
                free(flows.tuples[i]);
        }
        free(flows.tuples);
        return result;
}

static int forget_on_worker(void *argument)
{
        const struct job *job = argument;
        int result = forget_family(AF_INET, job->port, job->err);
        if (result == 0)
                result = forget_family(AF_INET6, job->port, job->err);
        /* A kernel that does not track, or cannot be asked, has nothing to forget. */
        if (result == -EPROTONOSUPPORT || result == -EINVAL || result == -EOPNOTSUPP)
                return 0;
        return result;
}

int conntrack_forget_udp(uint16_t port, struct error *err)
{
        struct job job = {.port = port, .err = err};
        return task_offload(forget_on_worker, &job);
}
