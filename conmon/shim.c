#include "conmon/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "conmon/clock.h"

enum { RESPONSE = 2 };                                        /* of ttrpc's message types */
enum { VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5 }; /* protobuf's wire types */

#define ROUNDS_MAX 256 /* reads in one go, so that one who floods us holds up nothing else */

/* Fields of ttrpc.Response, google.rpc.Status, task.WaitResponse and google.protobuf.Timestamp. */
enum { RESPONSE_STATUS = 1, RESPONSE_PAYLOAD = 2 };
enum { STATUS_CODE = 1, STATUS_MESSAGE = 2 };
enum { WAIT_EXIT_STATUS = 1, WAIT_EXITED_AT = 2 };
enum { TIMESTAMP_SECONDS = 1, TIMESTAMP_NANOS = 2 };

/* ---- the connection ---- */

static socklen_t make_address(const char *text, struct sockaddr_un *address)
{
        static const char prefix[] = "unix://";
        bool bare = strncmp(text, prefix, sizeof(prefix) - 1) != 0;
        const char *path = bare ? text : text + sizeof(prefix) - 1;
        size_t size = strlen(path);

        if (size < 2 || size >= sizeof(address->sun_path))
                return 0;
        address->sun_family = AF_UNIX;
        if (*path == '@')
                memcpy(address->sun_path + 1, path + 1, --size);
        else
                memcpy(address->sun_path + (bare && *path != '/'), path, size);
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + 1);
}

int shim_connect(const char *address)
{
        const struct timeval patience = {.tv_sec = SHIM_PATIENCE};
        struct sockaddr_un there = {0};
        socklen_t length = make_address(address, &there);
        int fd;

        if (!length)
                return -EINVAL;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        /* It bounds connect(2) too. */
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
            connect(fd, (struct sockaddr *)&there, length) < 0) {
                int result = -errno;

                close(fd);
                return result;
        }
        return fd;
}

int shim_send(int fd, const void *bytes, size_t length)
{
        size_t done = 0;

        while (done < length) {
                ssize_t sent = send(fd, (const char *)bytes + done, length - done, MSG_NOSIGNAL);

                if (sent < 0 && errno == EINTR)
                        continue;
                if (sent < 0)
                        return errno == EAGAIN ? -ETIMEDOUT : -errno;
                done += (size_t)sent;
        }
        return 0;
}

int shim_send_file(int fd, const char *path, char *memory, size_t size)
{
        int file = open(path, O_RDONLY | O_CLOEXEC);
        int result = 0;

        if (file < 0)
                return -errno;
        while (!result) {
                ssize_t got = read(file, memory, size);

                if (got < 0 && errno != EINTR)
                        result = -errno;
                if (got == 0)
                        break;
                if (got > 0)
                        result = shim_send(fd, memory, (size_t)got);
        }
        close(file);
        return result;
}

/* ---- fields ---- */

static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
        uint64_t result = 0;

        for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
                uint8_t byte = *(*at)++;

                result |= (uint64_t)(byte & 0x7f) << shift;
                if (!(byte & 0x80)) {
                        *value = result;
                        return true;
                }
        }
        return false;
}

struct field {
        uint32_t number;
        unsigned type;
        uint64_t value; /* of a varint */
        const uint8_t *bytes;
        size_t size;
};

/* The next field; false at the end, or where it cannot be read any further. */
static bool next_field(const uint8_t **at, const uint8_t *end, struct field *field)
{
        uint64_t key, size = 0;

        if (*at >= end || !read_varint(at, end, &key))
                return false;
        *field = (struct field){.number = (uint32_t)(key >> 3), .type = key & 7};
        switch (field->type) {
        case VARINT:
                return read_varint(at, end, &field->value);
        case FIXED64:
                size = 8;
                break;
        case FIXED32:
                size = 4;
                break;
        case DELIMITED:
                if (!read_varint(at, end, &size))
                        return false;
                break;
        default:
                return false;
        }
        if (size > (uint64_t)(end - *at))
                size = (uint64_t)(end - *at);
        field->bytes = *at;
        field->size = size;
        *at += size;
        return true;
}

uint64_t shim_number(const uint8_t *message, size_t length, uint32_t number)
{
        const uint8_t *at = message, *end = message ? message + length : NULL;
        uint64_t found = 0;
        struct field field;

        while (next_field(&at, end, &field)) {
                if (field.number == number && field.type == VARINT)
                        found = field.value;
        }
        return found;
}

const uint8_t *shim_bytes(const uint8_t *message, size_t length, uint32_t number, size_t *size)
{
        const uint8_t *at = message, *end = message ? message + length : NULL, *found = NULL;
        struct field field;

        *size = 0;
        while (next_field(&at, end, &field)) {
                if (field.number == number && field.type == DELIMITED) {
                        found = field.bytes;
                        *size = field.size;
                }
        }
        return found;
}

static void add_varint(struct text *message, uint64_t value)
{
        do {
                char byte = (char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));

                text_add_bytes(message, &byte, 1);
                value >>= 7;
        } while (value);
}

void shim_add_number(struct text *message, uint32_t field, uint64_t value)
{
        if (!value)
                return;
        add_varint(message, (uint64_t)field << 3 | VARINT);
        add_varint(message, value);
}

void shim_add_length(struct text *message, uint32_t field, size_t length)
{
        add_varint(message, (uint64_t)field << 3 | DELIMITED);
        add_varint(message, length);
}

void shim_add_bytes(struct text *message, uint32_t field, const void *bytes, size_t length)
{
        shim_add_length(message, field, length);
        text_add_bytes(message, bytes, length);
}

void shim_add_string(struct text *message, uint32_t field, const char *string)
{
        if (*string)
                shim_add_bytes(message, field, string, strlen(string));
}

/* ---- answers ---- */

static uint32_t big_endian(const uint8_t *bytes)
{
        return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
               bytes[3];
}

int shim_parse(const uint8_t *bytes, size_t length, struct shim_answer *answer)
{
        const uint8_t *response = bytes + SHIM_HEADER, *status;
        size_t size;

        if (length < SHIM_HEADER || bytes[8] != RESPONSE)
                return -EPROTO;
        length -= SHIM_HEADER;
        *answer = (struct shim_answer){.stream = big_endian(bytes + 4)};
        status = shim_bytes(response, length, RESPONSE_STATUS, &size);
        answer->code = (uint32_t)shim_number(status, size, STATUS_CODE);
        answer->message =
                (const char *)shim_bytes(status, size, STATUS_MESSAGE, &answer->message_length);
        answer->payload = shim_bytes(response, length, RESPONSE_PAYLOAD, &answer->length);
        return 0;
}

/* Bytes that the message still needs, those to be dropped included. */
static size_t missing(const struct shim_reader *reader)
{
        if (reader->length < SHIM_HEADER)
                return SHIM_HEADER - reader->length;
        return SHIM_HEADER + (size_t)big_endian(reader->bytes) - reader->length - reader->dropped;
}

static ssize_t read_some(int fd, struct shim_reader *reader, size_t wanted)
{
        size_t room = sizeof(reader->bytes) - reader->length;
        uint8_t waste[512];
        ssize_t got;

        if (room) {
                got = recv(fd, reader->bytes + reader->length, wanted < room ? wanted : room,
                           MSG_DONTWAIT);
                if (got > 0)
                        reader->length += (size_t)got;
                return got;
        }
        got = recv(fd, waste, wanted < sizeof(waste) ? wanted : sizeof(waste), MSG_DONTWAIT);
        if (got > 0)
                reader->dropped += (size_t)got;
        return got;
}

int shim_receive(int fd, struct shim_reader *reader, struct shim_answer *answer)
{
        /* The one that was given out before. */
        if (reader->length >= SHIM_HEADER && !missing(reader))
                reader->length = reader->dropped = 0;
        for (unsigned round = 0; round < ROUNDS_MAX; round++) {
                size_t wanted = missing(reader);
                ssize_t got;

                if (!wanted && reader->length >= SHIM_HEADER) {
                        if (shim_parse(reader->bytes, reader->length, answer) == 0)
                                return 1;
                        /* What is no answer is passed over. */
                        reader->length = reader->dropped = 0;
                        continue;
                }
                got = read_some(fd, reader, wanted);
                if (got == 0)
                        return -EPIPE;
                if (got < 0 && errno == EAGAIN)
                        return 0;
                if (got < 0 && errno != EINTR)
                        return errno == ECONNRESET ? -EPIPE : -errno;
        }
        return 0;
}

struct shim_end shim_wait_answer(const struct shim_answer *answer)
{
        struct shim_end end = {
                .exit_code =
                        (uint32_t)shim_number(answer->payload, answer->length, WAIT_EXIT_STATUS),
        };
        size_t size;
        const uint8_t *time = shim_bytes(answer->payload, answer->length, WAIT_EXITED_AT, &size);
        int64_t seconds = (int64_t)shim_number(time, size, TIMESTAMP_SECONDS);
        int64_t nanos = (int64_t)shim_number(time, size, TIMESTAMP_NANOS);

        /* A time before 1970 (Go's zero) or past 2262 is none. */
        if (seconds > 0 && seconds < INT64_MAX / NANOSECONDS && nanos >= 0 && nanos < NANOSECONDS)
                end.finished_at = seconds * NANOSECONDS + nanos;
        return end;
}
