#include "conmon/conmon.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "conmon/attach.h"
#include "conmon/clock.h"
#include "conmon/conmon_private.h"
#include "conmon/launch.h"
#include "conmon/protocol.h"

/* All memory there is; what is never touched costs nothing. */
static struct conmon self;

/* ---- what is done when something happens ---- */

static enum state go_on(struct conmon *m, unsigned unused)
{
        return m->state;
}

static enum state look_again(struct conmon *m, unsigned unused)
{
        m->output.hung_up = false;
        return m->state;
}

/* clang-format off */
static conmon_handler *const table[STATES][HAPPENINGS] = {
        [CREATING] = {
                [CHILD_CHANGED] = conmon_runtime_changed,
                [OUTPUT_READY] = conmon_collect_output,
                [CONSOLE_READY] = conmon_receive_console,
                [REQUEST_CAME] = conmon_reply,
                [SHIM_READY] = conmon_shim_created,
        },
        [RUNNING] = {
                [CHILD_CHANGED] = conmon_container_changed,
                [OUTPUT_READY] = conmon_collect_output,
                [ATTACH_SERVED] = conmon_shim_attach_served,
                [REQUEST_CAME] = conmon_reply,
                [SHIM_READY] = conmon_shim_told,
                [TIME_CAME] = look_again,
        },
        [FLUSHING] = {
                [CHILD_CHANGED] = conmon_reap_others,
                [OUTPUT_READY] = conmon_shim_flush,
                [ATTACH_SERVED] = go_on,
                [REQUEST_CAME] = conmon_reply,
                [TIME_CAME] = conmon_shim_flushed,
        },
        [UNRECORDED] = {
                [CHILD_CHANGED] = conmon_reap_others,
                [OUTPUT_READY] = conmon_collect_output,
                [ATTACH_SERVED] = go_on,
                [REQUEST_CAME] = conmon_reply,
                [TIME_CAME] = conmon_record_end,
        },
        [LINGERING] = {
                [CHILD_CHANGED] = conmon_reap_others,
                [OUTPUT_READY] = conmon_linger_output,
                [ATTACH_SERVED] = conmon_linger_attached,
                [REQUEST_CAME] = conmon_reply,
                [TIME_CAME] = conmon_finish,
        },
};
/* clang-format on */

static void handle(struct conmon *m, enum happening what, unsigned which)
{
        if (m->state != DONE && table[m->state][what])
                m->state = table[m->state][what](m, which);
}

/* ---- waiting ---- */

/* Fixed places in the set that is polled. */
enum slot {
        SLOT_OUTPUT = 0,
        SLOT_CONSOLE = SLOT_OUTPUT + OUTPUTS,
        SLOT_CLIENT,
        SLOT_LISTENER = SLOT_CLIENT + MONITOR_CLIENTS_MAX,
        SLOT_SHIM,
        SLOT_MEMORY,
        SLOT_ATTACH,
        SLOTS = SLOT_ATTACH + ATTACH_SLOTS,
};

static void fill_slots(const struct conmon *m, struct pollfd slots[SLOTS])
{
        for (unsigned i = 0; i < OUTPUTS; i++)
                slots[SLOT_OUTPUT + i].fd = output_poll_fd(&m->output, i);
        slots[SLOT_CONSOLE].fd =
                m->console.connection >= 0 ? m->console.connection : m->console.listener;
        for (unsigned i = 0; i < MONITOR_CLIENTS_MAX; i++)
                slots[SLOT_CLIENT + i].fd = m->clients.fds[i];
        slots[SLOT_LISTENER].fd = m->clients.listener;
        slots[SLOT_SHIM].fd = m->shim;
        for (unsigned i = 0; i < SLOT_ATTACH; i++)
                slots[i].events = POLLIN;
        slots[SLOT_MEMORY] = (struct pollfd){.fd = m->memory.fd, .events = POLLPRI};
        if (m->output.attach.count)
                attach_fill(&m->output.attach, slots + SLOT_ATTACH);
}

/* Nobody is attached most of the time. */
static nfds_t count_slots(const struct conmon *m)
{
        return m->output.attach.count ? SLOTS : SLOT_ATTACH;
}

static void handle_slots(struct conmon *m, const struct pollfd slots[SLOTS], bool attached)
{
        if (attached) {
                attach_serve(&m->output.attach, slots + SLOT_ATTACH);
                handle(m, ATTACH_SERVED, 0);
        }
        for (unsigned i = 0; i < SLOT_ATTACH; i++) {
                if (!slots[i].revents)
                        continue;
                /* An earlier one's handler may have closed it. */
                if (i < SLOT_CONSOLE) {
                        if (output_poll_fd(&m->output, i - SLOT_OUTPUT) >= 0)
                                handle(m, OUTPUT_READY, i - SLOT_OUTPUT);
                } else if (i == SLOT_CONSOLE) {
                        handle(m, CONSOLE_READY, 0);
                } else if (i == SLOT_SHIM) {
                        handle(m, SHIM_READY, 0);
                } else if (i == SLOT_MEMORY) {
                        oom_watch_look(&m->memory);
                } else if (i == SLOT_LISTENER || m->clients.fds[i - SLOT_CLIENT] >= 0) {
                        handle(m, REQUEST_CAME, i - SLOT_CLIENT);
                }
        }
}

static struct timespec *until(int64_t deadline, struct timespec *timeout)
{
        int64_t left;

        if (deadline == CONMON_NEVER)
                return NULL;
        left = deadline - clock_now(CLOCK_MONOTONIC);
        if (left < 0)
                left = 0;
        *timeout = (struct timespec){.tv_sec = left / NANOSECONDS, .tv_nsec = left % NANOSECONDS};
        return timeout;
}

static int64_t next_deadline(const struct conmon *m)
{
        int64_t attached = attach_deadline(&m->output.attach);

        return attached < m->deadline ? attached : m->deadline;
}

static void check_deadline(struct conmon *m)
{
        int64_t now;

        if (next_deadline(m) == CONMON_NEVER)
                return;
        now = clock_now(CLOCK_MONOTONIC);
        if (attach_deadline(&m->output.attach) <= now) {
                attach_expire(&m->output.attach, now);
                handle(m, ATTACH_SERVED, 0);
        }
        if (now < m->deadline)
                return;
        m->deadline = CONMON_NEVER;
        handle(m, TIME_CAME, 0);
}

static void watch(struct conmon *m)
{
        const struct timespec now = {0};
        sigset_t none, child;

        sigemptyset(&none);
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        while (m->state != DONE) {
                struct pollfd slots[SLOTS];
                struct timespec timeout;
                nfds_t count = count_slots(m);
                int ready;

                fill_slots(m, slots);
                ready = ppoll(slots, count, until(next_deadline(m), &timeout), &none);
                if (ready > 0)
                        handle_slots(m, slots, count == SLOTS);
                /*
                 * SIGCHLD ends ppoll only where no descriptor is ready; under steady output it
                 * would wait forever. So it is taken here when it is pending.
                 */
                if (ready < 0 || sigtimedwait(&child, NULL, &now) == SIGCHLD)
                        handle(m, CHILD_CHANGED, 0);
                check_deadline(m);
        }
}

int conmon_run(const struct conmon_options *options)
{
        struct conmon *m = &self;

        /* The rest is zero already; writing it would touch memory that most containers never need.
         */
        m->options = options;
        m->deadline = CONMON_NEVER;
        m->console = (struct console)CONSOLE_NONE;
        m->memory.fd = -1;
        clients_init(&m->clients);
        output_init(&m->output, options->runtime_stderr_max);
        launch_prepare();
        m->shim = options->shim ? launch_with_shim(options, &m->clients, &m->output) : -1;
        if (!options->shim)
                m->runtime = launch(options, &m->clients, &m->output, &m->console);
        m->state = (options->shim ? m->shim : m->runtime) < 0 ? DONE : CREATING;
        watch(m);
        conmon_shim_close(m);
        for (unsigned i = 0; i < OUTPUTS; i++)
                output_close(&m->output, i);
        attach_close(&m->output.attach);
        crilog_close(&m->output.log);
        journal_close(&m->output.journal);
        console_close(&m->console);
        oom_watch_close(&m->memory);
        if (m->clients.listener >= 0)
                unlink(options->socket);
        clients_close(&m->clients);
        return m->ended ? 0 : 1;
}
