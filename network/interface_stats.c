#include "network/interface_stats.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "network/visitor.h"

#define MESSAGE_MAX    (32 * 1024) /* bytes of one answer: what the kernel fills at most */
#define ANSWER_SECONDS 2

/* ---- the socket ---- */

int interface_stats_open(const char *path, struct error *err)
{
        AUTO_FD int fd = -1;
        int result =
                visitor_socket(path, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE, &fd, err);
        if (result < 0)
                return result;
        struct timeval patience = {.tv_sec = ANSWER_SECONDS};
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0)
                return error_errno(err, errno, "prepare a netlink socket");
        return take_fd(&fd);
}

/* ---- what the kernel answers ---- */

static void take_counters(struct interface_stats *stats, const void *bytes, size_t length)
{
        struct rtnl_link_stats64 counters = {0};
        /* Kernels add to its end. */
        memcpy(&counters, bytes, length < sizeof counters ? length : sizeof counters);
        stats->rx_bytes = counters.rx_bytes;
        stats->rx_packets = counters.rx_packets;
        stats->rx_errors = counters.rx_errors;
        stats->rx_dropped = counters.rx_dropped;
        stats->tx_bytes = counters.tx_bytes;
        stats->tx_packets = counters.tx_packets;
        stats->tx_errors = counters.tx_errors;
        stats->tx_dropped = counters.tx_dropped;
}

/* One RTM_NEWLINK without its netlink header. */
static void take_link(const char *bytes, size_t length, struct interface_stats *list, size_t *count)
{
        struct interface_stats stats = {0};
        struct ifinfomsg info;
        if (length < sizeof info || *count == INTERFACE_STATS_MAX)
                return;
        memcpy(&info, bytes, sizeof info);
        stats.loopback = info.ifi_flags & IFF_LOOPBACK;
        size_t at = NLMSG_ALIGN(sizeof info);
        while (at + sizeof(struct rtattr) <= length) {
                struct rtattr attribute;
                memcpy(&attribute, bytes + at, sizeof attribute);
                if (attribute.rta_len < sizeof attribute || attribute.rta_len > length - at)
                        break;
                const char *value = bytes + at + RTA_LENGTH(0);
                size_t size = attribute.rta_len - RTA_LENGTH(0);
                if (attribute.rta_type == IFLA_IFNAME && size && size <= sizeof stats.name &&
                    memchr(value, '\0', size))
                        memcpy(stats.name, value, size);
                else if (attribute.rta_type == IFLA_STATS64)
                        take_counters(&stats, value, size);
                at += RTA_ALIGN(attribute.rta_len);
        }
        if (stats.name[0])
                list[(*count)++] = stats;
}

int interface_stats_parse(const void *bytes, size_t length, struct interface_stats *list,
                          size_t *count, bool *done)
{
        const char *message = bytes;
        while (length >= sizeof(struct nlmsghdr)) {
                struct nlmsghdr head;
                memcpy(&head, message, sizeof head);
                if (head.nlmsg_len < sizeof head || head.nlmsg_len > length)
                        return -EBADMSG;
                const char *payload = message + NLMSG_HDRLEN;
                size_t size = head.nlmsg_len - NLMSG_HDRLEN;
                if (head.nlmsg_type == NLMSG_DONE) {
                        *done = true;
                        return 0;
                }
                if (head.nlmsg_type == NLMSG_ERROR) {
                        int number = -EBADMSG;
                        if (size >= sizeof number)
                                memcpy(&number, payload, sizeof number);
                        return number < 0 && number > -4096 ? number : -EBADMSG;
                }
                if (head.nlmsg_type == RTM_NEWLINK)
                        take_link(payload, size, list, count);
                size_t step = NLMSG_ALIGN((size_t)head.nlmsg_len);
                if (step >= length)
                        return 0;
                message += step;
                length -= step;
        }
        return 0;
}

/* ---- reading ---- */

/* What an earlier reading, which gave up, left unread. */
static void drop_answers(int fd, char *bytes)
{
        while (recv(fd, bytes, MESSAGE_MAX, MSG_DONTWAIT | MSG_TRUNC) > 0)
                continue;
}

static int ask(int fd)
{
        struct {
                struct nlmsghdr head;
                struct ifinfomsg info;
        } request = {
                .head = {.nlmsg_len = sizeof request,
                         .nlmsg_type = RTM_GETLINK,
                         .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
                .info = {.ifi_family = AF_UNSPEC},
        };
        return send(fd, &request, sizeof request, 0) < 0 ? -errno : 0;
}

int interface_stats_read(int fd, struct interface_stats **list, size_t *count, struct error *err)
{
        AUTO_FREE char *bytes = malloc(MESSAGE_MAX);
        AUTO_FREE struct interface_stats *found = calloc(INTERFACE_STATS_MAX, sizeof *found);
        size_t found_count = 0;
        bool done = false;
        if (!bytes || !found)
                return error_errno(err, ENOMEM, "read interfaces");
        drop_answers(fd, bytes);
        int result = ask(fd);
        while (result == 0 && !done) {
                ssize_t got = recv(fd, bytes, MESSAGE_MAX, 0);
                if (got < 0 && errno == EINTR)
                        continue;
                result = got < 0 ? -errno
                                 : interface_stats_parse(bytes, (size_t)got, found, &found_count,
                                                         &done);
        }
        if (result < 0)
                return error_errno(err, result, "read interfaces");
        *list = NULL;
        if (found_count)
                *list = xrealloc(take_ptr(found), found_count * sizeof *found);
        *count = found_count;
        return 0;
}
