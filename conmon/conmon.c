#include "conmon/conmon.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conmon/attach.h"
#include "conmon/clients.h"
#include "conmon/clock.h"
#include "conmon/command.h"
#include "conmon/console.h"
#include "conmon/launch.h"
#include "conmon/oom.h"
#include "conmon/output.h"
#include "conmon/protocol.h"
#include "conmon/record.h"
#include "conmon/report.h"
#include "conmon/shim.h"

/*
 * Processes that outlive the container's first one may hold its output open: those in a PID
 * namespace that it shared, which the daemon is about to kill, or whoever got the descriptor over a
 * socket. Their last words have this long, counted from the last byte; one that writes on and on is
 * cut off at the second bound.
 */
#define LINGER_SILENCE (1 * NANOSECONDS)
#define LINGER_MAX     (10 * NANOSECONDS)

#define HANGUP_PAUSE                                                                               \
        (NANOSECONDS / 4) /* until a terminal that nobody has open is looked at again */
#define RECORD_RETRY        (1 * NANOSECONDS)
#define SHIM_TRIES          3 /* to reach a shim whose connection was lost */
#define SHIM_WAIT_STREAM    3 /* of the request that waits for the end */
#define CREATE_RESPONSE_PID 1 /* field of a task's CreateTaskResponse */
#define NEVER               INT64_MAX

enum state {
        CREATING,   /* the runtime's command runs, or the shim is asked */
        RUNNING,    /* the container's first process lives */
        FLUSHING,   /* the shim has told its end; its last output is on the way */
        UNRECORDED, /* it ended; the record could not be written yet */
        LINGERING,  /* it ended and that is recorded; its output is still open */
        DONE,
        STATES = DONE,
};

enum happening {
        CHILD_CHANGED, /* SIGCHLD came */
        OUTPUT_READY,
        ATTACH_SERVED, /* those who are attached have taken or given something, or were let go */
        CONSOLE_READY,
        REQUEST_CAME,
        SHIM_READY, /* there is something to read from the shim */
        TIME_CAME,  /* the deadline that the state has set */
        HAPPENINGS,
};

struct conmon {
        const struct conmon_options *options;
        enum state state;
        int64_t deadline; /* monotonic ns, or NEVER */
        int64_t linger_end;
        pid_t runtime;
        struct exit_record end; /* pid and start time at first */
        int64_t parent_kills;   /* before the container ran; see oom_killed */
        bool ended;
        bool recorded;
        bool has_terminal;
        int shim;             /* the connection to it, or -1 */
        bool shim_stdin;      /* the container's stdin is open, and the shim keeps it so */
        unsigned shim_losses; /* one after the other, without an answer between them */
        struct shim_reader shim_reader;
        struct clients clients;
        struct console console;
        struct output output;
};

/* All memory there is; what is never touched costs nothing. */
static struct conmon self;

static enum state fail(int number, const char *step, const char *path)
{
        report_failed(number, step, path);
        return DONE;
}

/* ---- what is asked ---- */

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

/* ---- what is done when something happens; each returns the next state ---- */

typedef enum state handler(struct conmon *m, unsigned which);

static handler container_changed;

static enum state collect_output(struct conmon *m, unsigned which)
{
        output_read(&m->output, which);
        if (m->output.hung_up)
                m->deadline = clock_now(CLOCK_MONOTONIC) + HANGUP_PAUSE;
        return m->state;
}

static enum state look_again(struct conmon *m, unsigned unused)
{
        m->output.hung_up = false;
        return m->state;
}

/*
 * The terminal is not read before the runtime has ended: until the container's process has opened
 * the other side, it looks hung up.
 */
static enum state receive_console(struct conmon *m, unsigned unused)
{
        int terminal = console_receive(&m->console);

        if (terminal >= 0)
                m->has_terminal = output_settle(terminal, PLACE_STDOUT) == 0;
        else if (terminal != -EAGAIN)
                console_close(&m->console); /* that there is no terminal is told when the runtime
                                               has ended */
        return m->state;
}

static enum state runtime_failed(struct conmon *m, int status)
{
        static char memory[MONITOR_REPORT_TEXT_MAX + 1];
        struct text reason = text_in(memory, sizeof(memory));

        command_explain(m->options->runtime_log, m->output.chunk, sizeof(m->output.chunk), &reason);
        report_runtime_failed(status, reason.length ? &reason : &m->output.runtime_text);
        return DONE;
}

static bool take_terminal(struct conmon *m)
{
        if (!m->has_terminal)
                receive_console(m, 0);
        if (!m->has_terminal)
                return false;
        output_close(&m->output, OUTPUT_STDERR); /* it was the runtime's alone */
        m->output.open[OUTPUT_STDOUT] = true;
        m->output.terminal_stays = true;
        return true;
}

/*
 * The runtime's command has ended. What came through the pipes so far is its own, and no part of
 * the log: the container's program is not started before we have reported.
 */
static enum state runtime_changed(struct conmon *m, unsigned unused)
{
        siginfo_t info;
        int status;
        pid_t pid;

        /* Only the runtime is waited for here: the container's process may end before its pid is
         * known. */
        if (waitpid(m->runtime, &status, WNOHANG) != m->runtime)
                return CREATING;
        output_drain(&m->output);
        if (!WIFEXITED(status) || WEXITSTATUS(status))
                return runtime_failed(m, status);
        m->output.from_runtime = false;
        if (m->options->terminal && !take_terminal(m))
                return fail(EPROTO, "receive the terminal from the runtime", NULL);
        pid = command_read_pid(m->options->pid_file);
        if (pid < 0)
                return fail(pid, "read the container's pid from", m->options->pid_file);
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
                return fail(errno, "adopt the container's process", NULL);
        if (m->options->open_stdin)
                attach_open_input(&m->output.attach,
                                  m->options->terminal ? PLACE_STDOUT : PLACE_STDIN,
                                  m->options->stdin_once && !m->options->terminal);
        m->end.pid = pid;
        m->end.start_time = command_start_time(pid);
        m->parent_kills = oom_kills(m->options->oom_parent_file);
        report_ok(pid, m->end.start_time);
        /* It may have ended already, and its SIGCHLD be spent. */
        m->state = RUNNING;
        return container_changed(m, 0);
}

/* Those who are attached still get what they have not taken yet, as long as they take it. */
static enum state lingering(struct conmon *m)
{
        return output_any_open(&m->output) || attach_is_behind(&m->output.attach) ? LINGERING
                                                                                  : DONE;
}

static enum state linger(struct conmon *m)
{
        int64_t now = clock_now(CLOCK_MONOTONIC);

        m->linger_end = now + LINGER_MAX;
        m->deadline = now + LINGER_SILENCE;
        return lingering(m);
}

static bool write_record(const struct conmon *m)
{
        int result = exit_record_write(m->options->directory, &m->end);

        /* Where its folder is gone, the container was removed, and nobody will ask any more. */
        return result == 0 || result == -ENOENT || result == -ENOTDIR;
}

static enum state record_end(struct conmon *m, unsigned unused)
{
        if (!m->recorded)
                m->recorded = write_record(m);
        if (m->recorded)
                return linger(m);
        m->deadline = clock_now(CLOCK_MONOTONIC) + RECORD_RETRY;
        return UNRECORDED;
}

/* Reaps whatever has ended, and tells whether the container's process was among it. */
static bool reap(struct conmon *m)
{
        bool found = false;
        pid_t pid;
        int status;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                if (pid != m->end.pid || m->ended)
                        continue;
                found = true;
                m->end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
                m->end.exit_code = m->end.signal ? 128 + m->end.signal : WEXITSTATUS(status);
        }
        return found;
}

/*
 * systemd removes a scope as soon as it is empty, perhaps before we could look. The folder above,
 * the pod's, counts for those below it on v2 and stays. It may have counted for another container
 * of the pod, so it is asked only where a kill is what ended this one.
 */
static bool oom_killed(const struct conmon *m)
{
        int64_t kills = oom_kills_below(m->options->oom_file);

        if (kills >= 0)
                return kills > 0;
        return m->end.signal == SIGKILL && m->parent_kills >= 0 &&
               oom_kills(m->options->oom_parent_file) > m->parent_kills;
}

static enum state tell_end(struct conmon *m, unsigned unused)
{
        struct monitor_message message;
        enum state next;

        m->ended = true;
        m->output.terminal_stays = m->output.hung_up = false;
        output_drain(&m->output);
        /*
         * The record first, so that nothing is told that a crash could take back. On a full disk it
         * is told nevertheless: to make room, the kubelet must see its containers end.
         */
        next = record_end(m, 0);
        message = exited_message(m);
        clients_send_all(&m->clients, &message);
        return next;
}

static enum state container_changed(struct conmon *m, unsigned unused)
{
        if (!reap(m))
                return m->state;
        m->end.finished_at = clock_now(CLOCK_REALTIME);
        m->end.oom_killed = oom_killed(m);
        return tell_end(m, 0);
}

static enum state reap_others(struct conmon *m, unsigned unused)
{
        reap(m);
        return m->state;
}

static enum state linger_output(struct conmon *m, unsigned which)
{
        if (output_read(&m->output, which)) {
                int64_t deadline = clock_now(CLOCK_MONOTONIC) + LINGER_SILENCE;

                m->deadline = deadline < m->linger_end ? deadline : m->linger_end;
        }
        return lingering(m);
}

static enum state linger_attached(struct conmon *m, unsigned unused)
{
        return lingering(m);
}

/* While somebody is behind nothing was read: that was no silence. */
static enum state finish(struct conmon *m, unsigned unused)
{
        int64_t now = clock_now(CLOCK_MONOTONIC);

        if (attach_is_behind(&m->output.attach) && now < m->linger_end) {
                m->deadline = now + LINGER_SILENCE;
                return LINGERING;
        }
        for (unsigned i = 0; i < OUTPUTS; i++)
                output_close(&m->output, i);
        return lingering(m);
}

static enum state go_on(struct conmon *m, unsigned unused)
{
        return m->state;
}

/* ---- with a shim ---- */

static void close_shim(struct conmon *m)
{
        if (m->shim >= 0)
                close(m->shim);
        m->shim = -1;
        m->shim_reader.length = m->shim_reader.dropped = 0;
}

static int ask_for_end(struct conmon *m)
{
        return shim_send_file(m->shim, m->options->shim_wait, m->output.chunk,
                              sizeof(m->output.chunk));
}

/*
 * A shim that lives keeps the exit until it is told to delete the task, so asking again is always
 * right. One that does not answer any more is dead: our end without a record tells that.
 */
static enum state shim_lost(struct conmon *m)
{
        while (m->shim_losses++ < SHIM_TRIES) {
                close_shim(m);
                m->shim = shim_connect(m->options->shim);
                if (m->shim >= 0 && ask_for_end(m) == 0)
                        return RUNNING;
        }
        close_shim(m);
        output_drain(&m->output);
        return DONE;
}

static enum state shim_failed(struct conmon *m, const char *words, size_t length)
{
        static char memory[MONITOR_REPORT_TEXT_MAX + 1];
        struct text reason = text_in(memory, sizeof(memory));

        text_add_bytes(&reason, words, length);
        report_runtime_failed(0, &reason);
        return DONE;
}

static enum state shim_created(struct conmon *m, unsigned unused)
{
        static const char gone[] = "the shim has ended", silent[] = "the shim says nothing";
        struct shim_answer answer;
        int result = shim_receive(m->shim, &m->shim_reader, &answer);

        if (result == 0)
                return CREATING;
        if (result < 0)
                return shim_failed(m, gone, sizeof(gone) - 1);
        if (answer.code && answer.message_length)
                return shim_failed(m, answer.message, answer.message_length);
        if (answer.code)
                return shim_failed(m, silent, sizeof(silent) - 1);
        m->end.pid = (pid_t)shim_number(answer.payload, answer.length, CREATE_RESPONSE_PID);
        m->end.start_time = m->end.pid > 0 ? command_start_time(m->end.pid) : 0;
        m->parent_kills = oom_kills(m->options->oom_parent_file);
        if (m->options->open_stdin)
                m->shim_stdin = true;
        if (m->shim_stdin)
                attach_open_input(&m->output.attach, PLACE_STDIN,
                                  m->options->stdin_once && !m->options->terminal);
        if (ask_for_end(m) < 0)
                return shim_failed(m, gone, sizeof(gone) - 1);
        report_ok(m->end.pid, m->end.start_time);
        return RUNNING;
}

/*
 * Exit codes come as runc's shim counts them, 128 + signal: which of the two it was, nobody says.
 * The record comes first, and the telling when the output is in the log: the shim may still be at
 * copying it.
 */
static enum state shim_told(struct conmon *m, unsigned unused)
{
        struct shim_answer answer;
        int result = shim_receive(m->shim, &m->shim_reader, &answer);
        int64_t now = clock_now(CLOCK_MONOTONIC);
        struct shim_end end;

        if (result == 0)
                return RUNNING;
        if (result > 0 && answer.stream != SHIM_WAIT_STREAM)
                return RUNNING;
        if (result < 0 || answer.code)
                return shim_lost(m);
        end = shim_wait_answer(&answer);
        close_shim(m);
        m->end.exit_code = (int)(end.exit_code & 0xff);
        m->end.signal =
                m->end.exit_code > 128 && m->end.exit_code <= 128 + 64 ? m->end.exit_code - 128 : 0;
        m->end.finished_at = end.finished_at ? end.finished_at : clock_now(CLOCK_REALTIME);
        m->end.oom_killed = oom_killed(m);
        m->recorded = write_record(m);
        m->linger_end = now + LINGER_MAX;
        m->deadline = now + LINGER_SILENCE;
        m->output.hung_up = false;
        return output_any_open(&m->output) ? FLUSHING : tell_end(m, 0);
}

/* The shim holds its end of the pipe open itself: it has to be told that nothing more comes. */
static enum state attach_served(struct conmon *m, unsigned unused)
{
        if (m->shim_stdin && !m->output.attach.has_input) {
                m->shim_stdin = false;
                /* A shim that is gone is noticed where its answers are read. */
                shim_send_file(m->shim, m->options->shim_close, m->output.chunk,
                               sizeof(m->output.chunk));
        }
        return m->state;
}

static enum state flush_output(struct conmon *m, unsigned which)
{
        linger_output(m, which);
        return output_any_open(&m->output) ? FLUSHING : tell_end(m, 0);
}

static enum state tell_flushed(struct conmon *m, unsigned unused)
{
        enum state next = tell_end(m, 0);

        /* It had its time. */
        return next == LINGERING ? DONE : next;
}

/* which is a client's index, or the number past them: somebody new. */
static enum state reply(struct conmon *m, unsigned which)
{
        if (which == MONITOR_CLIENTS_MAX)
                welcome(m);
        else
                answer(m, which);
        return m->state;
}

/* clang-format off */
static handler *const table[STATES][HAPPENINGS] = {
        /*              CHILD_CHANGED      OUTPUT_READY    ATTACH_SERVED    CONSOLE_READY    REQUEST_CAME  SHIM_READY    TIME_CAME */
        [CREATING] =   {runtime_changed,   collect_output, NULL,            receive_console, reply,        shim_created, NULL},
        [RUNNING] =    {container_changed, collect_output, attach_served,   NULL,            reply,        shim_told,    look_again},
        [FLUSHING] =   {reap_others,       flush_output,   go_on,           NULL,            reply,        NULL,         tell_flushed},
        [UNRECORDED] = {reap_others,       collect_output, go_on,           NULL,            reply,        NULL,         record_end},
        [LINGERING] =  {reap_others,       linger_output,  linger_attached, NULL,            reply,        NULL,         finish},
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
                } else if (i == SLOT_LISTENER || m->clients.fds[i - SLOT_CLIENT] >= 0) {
                        handle(m, REQUEST_CAME, i - SLOT_CLIENT);
                }
        }
}

static struct timespec *until(int64_t deadline, struct timespec *timeout)
{
        int64_t left;

        if (deadline == NEVER)
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

        if (next_deadline(m) == NEVER)
                return;
        now = clock_now(CLOCK_MONOTONIC);
        if (attach_deadline(&m->output.attach) <= now) {
                attach_expire(&m->output.attach, now);
                handle(m, ATTACH_SERVED, 0);
        }
        if (now < m->deadline)
                return;
        m->deadline = NEVER;
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
        m->deadline = NEVER;
        m->console = (struct console)CONSOLE_NONE;
        clients_init(&m->clients);
        output_init(&m->output, options->runtime_stderr_max);
        launch_prepare();
        m->shim = options->shim ? launch_with_shim(options, &m->clients, &m->output) : -1;
        if (!options->shim)
                m->runtime = launch(options, &m->clients, &m->output, &m->console);
        m->state = (options->shim ? m->shim : m->runtime) < 0 ? DONE : CREATING;
        watch(m);
        close_shim(m);
        for (unsigned i = 0; i < OUTPUTS; i++)
                output_close(&m->output, i);
        attach_close(&m->output.attach);
        crilog_close(&m->output.log);
        journal_close(&m->output.journal);
        console_close(&m->console);
        if (m->clients.listener >= 0)
                unlink(options->socket);
        clients_close(&m->clients);
        return m->ended ? 0 : 1;
}
