/* What the monitor is asked over its socket. */
#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "conmon/attach.h"
#include "conmon/conmon_private.h"
#include "conmon/protocol.h"

static void fill_status(const struct conmon *m, struct monitor_status *status)
{
        *status = (struct monitor_status){
                .state = m->ended               ? MONITOR_ENDED
                         : m->state == CREATING ? MONITOR_CREATING
                                                : MONITOR_RUNNING,
                .pid = m->end.pid,
                .start_time = m->end.start_time,
                .log_lost_lines = m->output.log.lost_lines,
                .journal_lost_lines = m->output.journal.lost_lines,
        };
        if (m->ended) {
                status->exit_code = m->end.exit_code;
                status->signal = m->end.signal;
                status->finished_at = m->end.finished_at;
                status->oom_killed = m->end.oom_killed;
                status->recorded = m->recorded;
        }
}

static struct monitor_message exited_message(const struct conmon *m)
{
        struct monitor_message message = {.type = MONITOR_EXITED};

        fill_status(m, &message.body.status);
        return message;
}

static int resize(const struct conmon *m, const struct monitor_resize *size)
{
        struct winsize window = {.ws_row = size->rows, .ws_col = size->columns};

        if (!m->options->terminal)
                return -ENOTTY;
        if (!m->has_terminal)
                return -EAGAIN;
        if (m->ended)
                return -ESRCH;
        return ioctl(PLACE_STDOUT, TIOCSWINSZ, &window) < 0 ? -errno : 0;
}

/* Takes the descriptors. */
static int attach(struct conmon *m, struct monitor_attach *request, struct clients_fds *fds)
{
        int result = m->ended ? -ESRCH : m->state == RUNNING ? 0 : -EAGAIN;

        if (result < 0)
                return result;
        result = attach_add(&m->output.attach, request->flags, fds->fds, fds->count);
        fds->count = 0;
        request->flags = m->output.attach.has_input ? MONITOR_ATTACH_INPUT : 0;
        return result;
}

static void answer(struct conmon *m, unsigned index)
{
        struct monitor_message message;
        struct clients_fds fds;
        int result = 0;

        if (!clients_receive(&m->clients, index, &message, &fds))
                return;
        switch (message.type) {
        case MONITOR_STATUS:
                fill_status(m, &message.body.status);
                break;
        case MONITOR_RESIZE:
                result = resize(m, &message.body.resize);
                break;
        case MONITOR_REOPEN_LOG:
                result = m->ended ? -ESRCH : crilog_reopen(&m->output.log);
                break;
        case MONITOR_ATTACH:
                result = attach(m, &message.body.attach, &fds);
                break;
        default:
                result = -ENOSYS;
        }
        for (unsigned i = 0; i < fds.count; i++)
                close(fds.fds[i]);
        message.result = result;
        clients_send(&m->clients, index, &message);
}

static void welcome(struct conmon *m)
{
        int index = clients_accept(&m->clients);

        if (index >= 0 && m->ended) {
                struct monitor_message message = exited_message(m);

                clients_send(&m->clients, (unsigned)index, &message);
        }
}

void conmon_announce_end(struct conmon *m)
{
        struct monitor_message message = exited_message(m);

        clients_send_all(&m->clients, &message);
}

enum state conmon_reply(struct conmon *m, unsigned which)
{
        if (which == MONITOR_CLIENTS_MAX)
                welcome(m);
        else
                answer(m, which);
        return m->state;
}
