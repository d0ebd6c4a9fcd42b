#include "conmon/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void close_one(int *fd)
{
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

static void let_go(struct attach *attach, struct attached *client)
{
        close_one(&client->input);
        for (unsigned i = 0; i < ATTACH_STREAMS; i++)
                close_one(&client->outputs[i]);
        close_one(&client->control);
        client->used = false;
        attach->count--;
}

/* Who has nothing to give and nothing to get any more is done. */
static void drop_idle(struct attach *attach)
{
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                struct attached *client = &attach->clients[i];

                if (client->used && client->input < 0 && client->outputs[0] < 0 &&
                    client->outputs[1] < 0)
                        let_go(attach, client);
        }
}

/* ---- output ---- */

static bool lags(const struct attach *attach, const struct attached *client, unsigned stream)
{
        return client->outputs[stream] >= 0 && client->done[stream] < attach->backlog[stream];
}

static bool is_behind(const struct attach *attach, const struct attached *client)
{
        if (!client->used)
                return false;
        for (unsigned i = 0; i < ATTACH_STREAMS; i++) {
                if (lags(attach, client, i))
                        return true;
        }
        return false;
}

bool attach_is_behind(const struct attach *attach)
{
        for (unsigned i = 0; attach->count && i < MONITOR_ATTACH_MAX; i++) {
                if (is_behind(attach, &attach->clients[i]))
                        return true;
        }
        return false;
}

/* As much as the client takes now. */
static void give(struct attach *attach, struct attached *client, unsigned stream)
{
        while (lags(attach, client, stream)) {
                size_t done = client->done[stream];
                ssize_t written = write(client->outputs[stream], attach->bytes[stream] + done,
                                        attach->backlog[stream] - done);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0 && errno == EAGAIN)
                        break;
                if (written < 0) {
                        close_one(&client->outputs[stream]); /* nobody reads it any more */
                        break;
                }
                client->done[stream] += (size_t)written;
                client->patience = 0;
        }
        if (!is_behind(attach, client))
                client->patience = 0;
        else if (!client->patience)
                client->patience = clock_now(CLOCK_MONOTONIC) + ATTACH_PATIENCE;
}

/* Once all have it, the backlog begins anew. */
static void settle(struct attach *attach, unsigned stream)
{
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                if (attach->clients[i].used && lags(attach, &attach->clients[i], stream))
                        return;
        }
        attach->backlog[stream] = 0;
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                attach->clients[i].done[stream] = 0;
                if (attach->clients[i].used && attach->ended[stream])
                        close_one(&attach->clients[i].outputs[stream]);
        }
}

static void give_all(struct attach *attach, unsigned stream)
{
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                if (attach->clients[i].used)
                        give(attach, &attach->clients[i], stream);
        }
        settle(attach, stream);
}

static void drop_slow(struct attach *attach, struct attached *client)
{
        static const char why = MONITOR_ATTACH_TOO_SLOW;

        if (write(client->control, &why, sizeof(why)) < 0)
                errno = 0; /* it has gone meanwhile */
        let_go(attach, client);
}

void attach_write(struct attach *attach, unsigned stream, const char *bytes, size_t length)
{
        if (!attach->count)
                return;
        /* Only what is drained at the container's end comes while somebody is behind. */
        if (length > ATTACH_BACKLOG_MAX - attach->backlog[stream]) {
                for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                        if (is_behind(attach, &attach->clients[i]))
                                drop_slow(attach, &attach->clients[i]);
                }
                settle(attach, stream);
        }
        memcpy(attach->bytes[stream] + attach->backlog[stream], bytes, length);
        attach->backlog[stream] += length;
        give_all(attach, stream);
}

void attach_end(struct attach *attach, unsigned stream)
{
        attach->ended[stream] = true;
        if (!attach->count)
                return;
        settle(attach, stream);
        drop_idle(attach);
}

/* ---- input ---- */

void attach_open_input(struct attach *attach, int fd, bool once)
{
        attach->has_input = true;
        attach->input_fd = fd;
        attach->once = once;
}

static void close_input(struct attach *attach)
{
        attach->has_input = false;
        attach->input_length = attach->input_done = 0;
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                if (attach->clients[i].used)
                        close_one(&attach->clients[i].input);
        }
        close(attach->input_fd);
        /* Takes the place, the lowest that is free, so that no later descriptor comes to lie there.
         */
        if (open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
                return;
}

/* What is pending goes on to the container. */
static void write_input(struct attach *attach)
{
        while (attach->input_done < attach->input_length) {
                ssize_t written = write(attach->input_fd, attach->input + attach->input_done,
                                        attach->input_length - attach->input_done);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0 && errno == EAGAIN)
                        return;
                if (written < 0) {
                        /* Nobody in the container reads it. A terminal may be opened again. */
                        if (errno == EPIPE)
                                close_input(attach);
                        attach->input_length = attach->input_done = 0;
                        return;
                }
                attach->input_done += (size_t)written;
        }
        attach->input_length = attach->input_done = 0;
        if (attach->closes)
                close_input(attach);
}

/* A terminal cannot be half closed: what ends one's input there is a character of its own. */
static void input_ended(struct attach *attach, struct attached *client)
{
        close_one(&client->input);
        if (!attach->once || attach->closes || !attach->has_input)
                return;
        attach->closes = true;
        write_input(attach);
}

static void read_input(struct attach *attach, struct attached *client)
{
        ssize_t got;

        if (attach->input_length)
                return;
        got = read(client->input, attach->input, sizeof(attach->input));
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (got <= 0) {
                input_ended(attach, client);
                return;
        }
        attach->input_length = (size_t)got;
        write_input(attach);
}

/* ---- coming and going ---- */

/* Its client has gone. What he has written before still goes to the container. */
static void leave(struct attached *client)
{
        close_one(&client->control);
        for (unsigned i = 0; i < ATTACH_STREAMS; i++)
                close_one(&client->outputs[i]);
        client->patience = 0;
}

static struct attached *find_place(struct attach *attach)
{
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                if (!attach->clients[i].used)
                        return &attach->clients[i];
        }
        /* Rather than those whose clients are there, one goes whose input nobody takes. */
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                struct attached *client = &attach->clients[i];

                if (client->control >= 0)
                        continue;
                input_ended(attach, client);
                let_go(attach, client);
                return client;
        }
        return NULL;
}

int attach_add(struct attach *attach, unsigned flags, const int *fds, unsigned count)
{
        unsigned wanted = 1 + !!(flags & MONITOR_ATTACH_INPUT) + !!(flags & MONITOR_ATTACH_OUTPUT) +
                          !!(flags & MONITOR_ATTACH_ERRORS);
        struct attached *client = find_place(attach);
        unsigned next = 1;

        if (count != wanted || !client) {
                for (unsigned i = 0; i < count; i++)
                        close(fds[i]);
                return count != wanted ? -EINVAL : -EUSERS;
        }
        for (unsigned i = 0; i < count; i++)
                fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
        *client = (struct attached){.used = true, .control = fds[0], .input = -1};
        if (flags & MONITOR_ATTACH_INPUT)
                client->input = fds[next++];
        client->outputs[0] = flags & MONITOR_ATTACH_OUTPUT ? fds[next++] : -1;
        client->outputs[1] = flags & MONITOR_ATTACH_ERRORS ? fds[next++] : -1;
        if (!attach->has_input || attach->closes)
                close_one(&client->input);
        for (unsigned i = 0; i < ATTACH_STREAMS; i++) {
                client->done[i] = attach->backlog[i]; /* it came before */
                if (attach->ended[i])
                        close_one(&client->outputs[i]);
        }
        attach->count++;
        drop_idle(attach);
        return 0;
}

int64_t attach_deadline(const struct attach *attach)
{
        int64_t first = INT64_MAX;

        for (unsigned i = 0; attach->count && i < MONITOR_ATTACH_MAX; i++) {
                const struct attached *client = &attach->clients[i];

                if (client->used && client->patience && client->patience < first)
                        first = client->patience;
        }
        return first;
}

void attach_expire(struct attach *attach, int64_t now)
{
        if (now < attach_deadline(attach))
                return;
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                struct attached *client = &attach->clients[i];

                if (client->used && client->patience && client->patience <= now)
                        drop_slow(attach, client);
        }
        for (unsigned i = 0; i < ATTACH_STREAMS; i++)
                settle(attach, i);
}

void attach_close(struct attach *attach)
{
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                if (attach->clients[i].used)
                        let_go(attach, &attach->clients[i]);
        }
}

/* ---- waiting ---- */

enum { SLOT_CONTROL, SLOT_INPUT, SLOT_OUTPUTS };

void attach_fill(const struct attach *attach, struct pollfd slots[ATTACH_SLOTS])
{
        slots[0] = (struct pollfd){.fd = attach->input_length ? attach->input_fd : -1,
                                   .events = POLLOUT};
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                const struct attached *client = &attach->clients[i];
                struct pollfd *own = slots + 1 + (size_t)i * MONITOR_ATTACH_FDS;

                for (unsigned n = 0; n < MONITOR_ATTACH_FDS; n++)
                        own[n] = (struct pollfd){.fd = -1};
                if (!client->used)
                        continue;
                own[SLOT_CONTROL].fd =
                        client->control; /* for the error alone: who reads has gone */
                /* Left out while another's is pending: its hang-up would wake us all the time. */
                if (!attach->input_length)
                        own[SLOT_INPUT] = (struct pollfd){.fd = client->input, .events = POLLIN};
                for (unsigned n = 0; n < ATTACH_STREAMS; n++) {
                        own[SLOT_OUTPUTS + n].fd = client->outputs[n];
                        own[SLOT_OUTPUTS + n].events = lags(attach, client, n) ? POLLOUT : 0;
                }
        }
}

static void serve_one(struct attach *attach, struct attached *client, const struct pollfd *own)
{
        if (own[SLOT_CONTROL].revents)
                leave(client);
        if (own[SLOT_INPUT].revents && client->input >= 0)
                read_input(attach, client);
        for (unsigned n = 0; n < ATTACH_STREAMS; n++) {
                if (own[SLOT_OUTPUTS + n].revents & (POLLERR | POLLNVAL))
                        close_one(&client->outputs[n]);
                else if (own[SLOT_OUTPUTS + n].revents && client->used)
                        give(attach, client, n);
        }
}

void attach_serve(struct attach *attach, const struct pollfd slots[ATTACH_SLOTS])
{
        if (slots[0].revents)
                write_input(attach);
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++) {
                if (attach->clients[i].used)
                        serve_one(attach, &attach->clients[i],
                                  slots + 1 + (size_t)i * MONITOR_ATTACH_FDS);
        }
        for (unsigned i = 0; i < ATTACH_STREAMS; i++)
                settle(attach, i);
        drop_idle(attach);
}
