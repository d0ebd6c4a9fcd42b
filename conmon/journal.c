#include "conmon/journal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conmon/text.h"

#define SHORT_ID_LENGTH 12 /* as docker and podman show an id */

/* A line feed would end the field and begin another, of somebody's choice. */
static void add_field(struct text *text, const char *name, const char *value, size_t length)
{
        text_add(text, name);
        text_add(text, "=");
        for (size_t i = 0; i < length; i++)
                text_add_bytes(text, (unsigned char)value[i] < ' ' ? "_" : &value[i], 1);
        text_add(text, "\n");
}

int journal_open(struct journal *journal, const char *path, const char *id, const char *name)
{
        struct text fields = text_in(journal->fields, sizeof(journal->fields));
        struct text place = text_in(journal->address.sun_path, sizeof(journal->address.sun_path));
        size_t id_length = strlen(id);

        journal->fd = -1;
        journal->lost_lines = 0;
        if (!path)
                return 0;
        if (!name)
                name = id;
        journal->address.sun_family = AF_UNIX;
        text_add(&place, path);
        add_field(&fields, "CONTAINER_ID", id,
                  id_length < SHORT_ID_LENGTH ? id_length : SHORT_ID_LENGTH);
        add_field(&fields, "CONTAINER_ID_FULL", id, id_length);
        add_field(&fields, "CONTAINER_NAME", name, strlen(name));
        add_field(&fields, "SYSLOG_IDENTIFIER", name, strlen(name));
        if (place.cut || fields.cut)
                return -ENAMETOOLONG;
        journal->fields_length = fields.length;
        journal->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return journal->fd < 0 ? -errno : 0;
}

void journal_send(struct journal *journal, bool is_error, bool goes_on, const char *begin,
                  size_t begin_length, const char *rest, size_t rest_length)
{
        static const char heads[2][2][64] = {
                {"PRIORITY=6\nMESSAGE\n", "PRIORITY=6\nCONTAINER_PARTIAL_MESSAGE=true\nMESSAGE\n"},
                {"PRIORITY=3\nMESSAGE\n", "PRIORITY=3\nCONTAINER_PARTIAL_MESSAGE=true\nMESSAGE\n"},
        };
        const char *head = heads[is_error][goes_on];
        /* A value of any bytes comes after its length. */
        uint64_t length = htole64(begin_length + rest_length);
        char newline = '\n';
        struct iovec parts[] = {
                {journal->fields, journal->fields_length},
                {(void *)(uintptr_t)head, strlen(head)},
                {&length, sizeof(length)},
                {(void *)(uintptr_t)begin, begin_length},
                {(void *)(uintptr_t)rest, rest_length},
                {&newline, 1},
        };
        struct msghdr message = {
                .msg_name = &journal->address,
                .msg_namelen = sizeof(journal->address),
                .msg_iov = parts,
                .msg_iovlen = sizeof(parts) / sizeof(*parts),
        };

        if (sendmsg(journal->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                journal->lost_lines++;
}

void journal_close(struct journal *journal)
{
        if (journal->fd >= 0)
                close(journal->fd);
        journal->fd = -1;
}
