#include "conmon/conmon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conmon/clients.h"
#include "conmon/clock.h"
#include "conmon/console.h"
#include "conmon/crilog.h"
#include "conmon/protocol.h"
#include "conmon/record.h"
#include "conmon/command.h"
#include "conmon/text.h"

#define READ_SIZE (64 * 1024) /* bytes; what a pipe holds */

/*
 * Processes that outlive the container's first one may hold its output open: those in a PID
 * namespace that it shared, which the daemon is about to kill, or whoever got the descriptor over a
 * socket. Their last words have this long, counted from the last byte; one that writes on and on is
 * cut off at the second bound.
 */
#define LINGER_SILENCE (1 * NANOSECONDS)
#define LINGER_MAX     (10 * NANOSECONDS)

#define HANGUP_PAUSE (NANOSECONDS / 4)
#define RECORD_RETRY (1 * NANOSECONDS)
#define OOM_SCORE    "-999"
#define NEVER        INT64_MAX

/*
 * Where the two ends of the container's stdio are kept: in the place of our own, which we do not
 * use. So no stray write of libc to descriptor 2 can meet a client, and we hold no descriptors more
 * than needed.
 */
enum place { PLACE_STDIN = 0, PLACE_STDOUT = 1, PLACE_STDERR = 2 };
#define OUTPUTS 2 /* 0 is stdout or the terminal, 1 stderr; place is one more */

enum state {
        CREATING,   /* the runtime's command runs */
        RUNNING,    /* the container's first process lives */
        UNRECORDED, /* it ended; the record could not be written yet */
        LINGERING,  /* it ended and that is recorded; its output is still open */
        DONE,
        STATES = DONE,
};

enum happening {
        CHILD_CHANGED, /* SIGCHLD came */
        OUTPUT_READY,
        CONSOLE_READY,
        REQUEST_CAME,
        TIME_CAME, /* the deadline that the state has set */
        HAPPENINGS,
};

struct conmon {
        const struct conmon_options *options;
        enum state state;
        int64_t deadline; /* monotonic ns, or NEVER */
        int64_t linger_end;

        pid_t runtime;
        struct exit_record end;
        bool ended;
        bool recorded;

        bool has_terminal;
        bool hung_up; /* the terminal: nobody has it open, so polling it would spin */
        bool output_open[OUTPUTS];
        struct crilog_stream streams[OUTPUTS];
        struct crilog log;
        struct clients clients;
        struct console console;

        struct text runtime_text; /* the tail of what the runtime's command wrote itself */
        char runtime_text_memory[MONITOR_REPORT_TEXT_MAX + 1];
        struct monitor_report report;
        char chunk[READ_SIZE];
};

/* All memory there is; what is never touched costs nothing. */
static struct conmon self;

/* ---- the report to the daemon ---- */

static void send_report(struct conmon *m, enum monitor_report_type type, const struct text *text)
{
        size_t length = text ? text->length : 0;
        const char *bytes = (const char *)&m->report;
        size_t size = sizeof(m->report) - sizeof(m->report.text), done = 0;

        if (length > sizeof(m->report.text))
                length = sizeof(m->report.text);
        m->report.version = MONITOR_PROTOCOL_VERSION;
        m->report.type = type;
        m->report.text_length = (uint32_t)length;
        if (length)
                memcpy(m->report.text, text->data, length);
        size += length;
        /* A daemon that has gone meanwhile asks over the socket when it is back. */
        while (done < size) {
                ssize_t written = write(MONITOR_REPORT_FD, bytes + done, size - done);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written <= 0)
                        break;
                done += (size_t)written;
        }
        close(MONITOR_REPORT_FD);
}

static enum state fail(struct conmon *m, int number, const char *step, const char *path)
{
        char memory[512];
        struct text text = text_in(memory, sizeof(memory));

        text_add(&text, step);
        if (path) {
                text_add(&text, " ");
                text_add(&text, path);
        }
        m->report.number = number < 0 ? -number : number;
        send_report(m, MONITOR_REPORT_FAILED, &text);
        return DONE;
}

/* ---- output ---- */

static int place_of(unsigned output)
{
        return (int)output + PLACE_STDOUT;
}

static void close_output(struct conmon *m, unsigned output)
{
        if (!m->output_open[output])
                return;
        m->output_open[output] = false;
        crilog_finish(&m->log, &m->streams[output], clock_now(CLOCK_REALTIME));
        close(place_of(output));
        /* Takes the place, the lowest that is free, so that no later descriptor comes to lie there.
         */
        if (open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
                return;
}

/* One read; it goes to the log, or while the runtime runs to its text. Returns its bytes, 0 when
 * there is nothing (more). */
static size_t read_output(struct conmon *m, unsigned output)
{
        ssize_t got = read(place_of(output), m->chunk, sizeof(m->chunk));

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (got < 0 && errno == EIO && m->has_terminal && m->state == RUNNING && !m->ended) {
                /* An init may close its terminal and open it again. */
                m->hung_up = true;
                m->deadline = clock_now(CLOCK_MONOTONIC) + HANGUP_PAUSE;
                return 0;
        }
        if (got <= 0) { /* a terminal's end is EIO */
                close_output(m, output);
                return 0;
        }
        if (m->state == CREATING)
                text_keep_tail(&m->runtime_text, m->chunk, (size_t)got);
        else
                crilog_write(&m->log, &m->streams[output], m->chunk, (size_t)got,
                             clock_now(CLOCK_REALTIME));
        return (size_t)got;
}

/*
 * Reads all that was written up to now, and not what others go on to write: so that whoever learns
 * of the end finds the whole output in the log.
 */
static void drain_output(struct conmon *m, unsigned output)
{
        size_t done = 0;
        int waiting = 0;

        if (!m->output_open[output])
                return;
        if (ioctl(place_of(output), FIONREAD, &waiting) < 0)
                waiting = 0;
        while (done <= (size_t)waiting + READ_SIZE) {
                size_t got = read_output(m, output);

                if (!got)
                        return;
                done += got;
        }
}

static void drain_outputs(struct conmon *m)
{
        for (unsigned i = 0; i < OUTPUTS; i++)
                drain_output(m, i);
}

static bool any_output_open(const struct conmon *m)
{
        return m->output_open[0] || m->output_open[1];
}

/* Puts a descriptor into the place of one of ours. */
static int settle(int fd, enum place place)
{
        int result = dup3(fd, (int)place, O_CLOEXEC) < 0 ? -errno : 0;

        close(fd);
        return result;
}

/* ---- status ---- */

static void fill_status(const struct conmon *m, struct monitor_status *status)
{
        *status = (struct monitor_status){
                .state = m->state == CREATING ? MONITOR_CREATING
                         : m->ended           ? MONITOR_ENDED
                                              : MONITOR_RUNNING,
                .pid = m->end.pid,
                .start_time = m->end.start_time,
                .log_lost_lines = m->log.lost_lines,
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

static int resize(struct conmon *m, const struct monitor_resize *size)
{
        struct winsize window = {.ws_row = size->rows, .ws_col = size->columns};

        if (!m->options->terminal)
                return -ENOTTY;
        if (m->ended || !m->output_open[0])
                return -ESRCH;
        return ioctl(PLACE_STDOUT, TIOCSWINSZ, &window) < 0 ? -errno : 0;
}

static void answer(struct conmon *m, unsigned index)
{
        struct monitor_message message;
        int result = 0;

        if (!clients_receive(&m->clients, index, &message))
                return;
        switch (message.type) {
        case MONITOR_STATUS:
                fill_status(m, &message.body.status);
                break;
        case MONITOR_RESIZE:
                result = resize(m, &message.body.resize);
                break;
        case MONITOR_REOPEN_LOG:
                result = m->ended ? -ESRCH : crilog_reopen(&m->log);
                break;
        default:
                result = -ENOSYS;
        }
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

static enum state collect_output(struct conmon *m, unsigned output)
{
        read_output(m, output);
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
                m->has_terminal = settle(terminal, PLACE_STDOUT) == 0;
        else if (terminal != -EAGAIN)
                console_close(&m->console); /* runtime_changed tells that there is no terminal */
        return m->state;
}

static enum state container_changed(struct conmon *m, unsigned unused);

static enum state runtime_failed(struct conmon *m, int status)
{
        struct text *text = &m->runtime_text;
        char memory[MONITOR_REPORT_TEXT_MAX + 1];
        struct text reason = text_in(memory, sizeof(memory));

        command_explain(m->options->runtime_log, m->chunk, sizeof(m->chunk), &reason);
        m->report.status = status;
        send_report(m, MONITOR_REPORT_RUNTIME_FAILED, reason.length ? &reason : text);
        return DONE;
}

/*
 * The runtime's command has ended. All that came through the pipes so far is its own: the
 * container's program is not started before we have reported.
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
        drain_outputs(m);
        if (!WIFEXITED(status) || WEXITSTATUS(status))
                return runtime_failed(m, status);
        if (m->options->terminal) {
                if (!m->has_terminal)
                        receive_console(m, 0);
                if (!m->has_terminal)
                        return fail(m, EPROTO, "receive the terminal from the runtime", NULL);
                close_output(m, 1);
                m->output_open[0] = true;
        }
        pid = command_read_pid(m->options->pid_file);
        if (pid < 0)
                return fail(m, pid, "read the container's pid from", m->options->pid_file);
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
                return fail(m, errno, "adopt the container's process", NULL);
        m->end.pid = pid;
        m->end.start_time = command_start_time(pid);
        m->report.pid = pid;
        m->report.start_time = m->end.start_time;
        send_report(m, MONITOR_REPORT_OK, NULL);
        /* It may have ended already, and its SIGCHLD be spent. */
        m->state = RUNNING;
        return container_changed(m, 0);
}

static enum state linger(struct conmon *m)
{
        int64_t now = clock_now(CLOCK_MONOTONIC);

        m->linger_end = now + LINGER_MAX;
        m->deadline = now + LINGER_SILENCE;
        return any_output_open(m) ? LINGERING : DONE;
}

static enum state record_end(struct conmon *m, unsigned unused)
{
        int result = exit_record_write(m->options->directory, &m->end);

        /* Where its folder is gone, the container was removed, and nobody will ask any more. */
        m->recorded = result == 0 || result == -ENOENT || result == -ENOTDIR;
        if (m->recorded)
                return linger(m);
        m->deadline = clock_now(CLOCK_MONOTONIC) + RECORD_RETRY;
        return UNRECORDED;
}

/* Reaps whatever has ended; we are the parent of all that the container leaves behind. */
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

static enum state container_changed(struct conmon *m, unsigned unused)
{
        struct monitor_message message;
        enum state next;

        if (!reap(m))
                return m->state;
        m->end.finished_at = clock_now(CLOCK_REALTIME);
        m->end.oom_killed = oom_file_tells_kill(m->options->oom_file);
        m->ended = true;
        m->hung_up = false;
        m->deadline = NEVER;
        drain_outputs(m);
        /*
         * The record first, so that nothing is told that a crash could take back. On a full disk it
         * is told nevertheless: to make room, the kubelet must see its containers end.
         */
        next = record_end(m, 0);
        message = exited_message(m);
        clients_send_all(&m->clients, &message);
        return next;
}

static enum state reap_others(struct conmon *m, unsigned unused)
{
        reap(m);
        return m->state;
}

static enum state linger_output(struct conmon *m, unsigned output)
{
        if (read_output(m, output)) {
                int64_t deadline = clock_now(CLOCK_MONOTONIC) + LINGER_SILENCE;

                m->deadline = deadline < m->linger_end ? deadline : m->linger_end;
        }
        return any_output_open(m) ? LINGERING : DONE;
}

static enum state look_again(struct conmon *m, unsigned unused)
{
        m->hung_up = false;
        return m->state;
}

static enum state finish(struct conmon *m, unsigned unused)
{
        return DONE;
}

static enum state reply(struct conmon *m, unsigned which)
{
        if (which == MONITOR_CLIENTS_MAX)
                welcome(m);
        else
                answer(m, which);
        return m->state;
}

static handler *const table[STATES][HAPPENINGS] = {
        [CREATING] = {runtime_changed, collect_output, receive_console, reply, NULL},
        [RUNNING] = {container_changed, collect_output, NULL, reply, look_again},
        [UNRECORDED] = {reap_others, collect_output, NULL, reply, record_end},
        [LINGERING] = {reap_others, linger_output, NULL, reply, finish},
};

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
        SLOTS,
};

static void fill_slots(const struct conmon *m, struct pollfd slots[SLOTS])
{
        for (unsigned i = 0; i < SLOTS; i++)
                slots[i] = (struct pollfd){.fd = -1, .events = POLLIN};
        for (unsigned i = 0; i < OUTPUTS; i++) {
                if (m->output_open[i] && !(i == 0 && m->hung_up))
                        slots[SLOT_OUTPUT + i].fd = place_of(i);
        }
        slots[SLOT_CONSOLE].fd =
                m->console.connection >= 0 ? m->console.connection : m->console.listener;
        for (unsigned i = 0; i < MONITOR_CLIENTS_MAX; i++)
                slots[SLOT_CLIENT + i].fd = m->clients.fds[i];
        slots[SLOT_LISTENER].fd = m->clients.listener;
}

static void handle_slots(struct conmon *m, const struct pollfd slots[SLOTS])
{
        for (unsigned i = 0; i < SLOTS; i++) {
                if (!slots[i].revents)
                        continue;
                if (i < SLOT_CONSOLE) {
                        if (m->output_open[i - SLOT_OUTPUT])
                                handle(m, OUTPUT_READY, i - SLOT_OUTPUT);
                } else if (i == SLOT_CONSOLE) {
                        handle(m, CONSOLE_READY, 0);
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
                int ready;

                fill_slots(m, slots);
                ready = ppoll(slots, SLOTS, until(m->deadline, &timeout), &none);
                if (ready > 0)
                        handle_slots(m, slots);
                /*
                 * SIGCHLD ends ppoll only where no descriptor is ready; under steady output it
                 * would wait forever. So it is taken here when it is pending.
                 */
                if (ready < 0 || sigtimedwait(&child, NULL, &now) == SIGCHLD)
                        handle(m, CHILD_CHANGED, 0);
                if (m->deadline != NEVER && clock_now(CLOCK_MONOTONIC) >= m->deadline) {
                        int64_t reached = m->deadline;

                        handle(m, TIME_CAME, 0);
                        if (m->deadline == reached)
                                m->deadline = NEVER;
                }
        }
}

/* ---- the start ---- */

static void wake_up(int unused)
{
}

static void prepare_signals(void)
{
        static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
        struct sigaction wake = {.sa_handler = wake_up, .sa_flags = SA_NOCLDSTOP};
        sigset_t child;

        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        sigprocmask(SIG_SETMASK, &child, NULL);
        sigaction(SIGCHLD, &wake, NULL);
        for (unsigned i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
                signal(ignored[i], SIG_IGN);
}

/* The kernel would kill us for the container's appetite; without the right to say so, it may. Not
 * inherited by the runtime, which is started by now. */
static void refuse_oom_kill(void)
{
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return;
        if (write(fd, OOM_SCORE, sizeof(OOM_SCORE) - 1) < 0)
                errno = 0;
        close(fd);
}

/* A terminal needs a socket for the runtime to hand it over, and its path in the command. */
static int prepare_console(struct conmon *m, char *path, size_t size)
{
        struct text text = text_in(path, size);
        int result;

        text_add(&text, m->options->socket);
        text_add(&text, ".console");
        if (text.cut)
                return -ENAMETOOLONG;
        result = console_listen(&m->console, path);
        if (result < 0)
                return result;
        for (char **argument = m->options->command; *argument; argument++) {
                if (strcmp(*argument, MONITOR_CONSOLE_SOCKET) == 0)
                        *argument = m->console.address.sun_path;
        }
        return 0;
}

/*
 * Starts the command with the far ends of the container's stdio. With a terminal these pipes are
 * the runtime's alone. Our own ends go to the places of descriptors 0, 1 and 2.
 */
static int start_command(struct conmon *m)
{
        bool terminal = m->options->terminal;
        int input[2] = {-1, -1}, output[2] = {-1, -1}, errors[2];
        int result = 0;

        if (m->options->open_stdin && !terminal)
                result = pipe2(input, O_CLOEXEC);
        else
                result = input[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (result < 0 || (!terminal && pipe2(output, O_CLOEXEC) < 0) ||
            pipe2(errors, O_CLOEXEC) < 0)
                return -errno;
        m->runtime = command_start(m->options->command, input[0], terminal ? errors[1] : output[1],
                                   errors[1]);
        if (m->runtime < 0)
                return m->runtime;
        close(input[0]);
        close(errors[1]);
        result = settle(errors[0], PLACE_STDERR);
        if (!result && input[1] >= 0)
                result = settle(input[1], PLACE_STDIN);
        if (!result && !terminal) {
                close(output[1]);
                result = settle(output[0], PLACE_STDOUT);
        }
        /* Non-blocking is a pipe's end's own matter: the container's ends stay as programs expect
         * them. */
        if (!result && (fcntl(PLACE_STDERR, F_SETFL, O_NONBLOCK) < 0 ||
                        (!terminal && fcntl(PLACE_STDOUT, F_SETFL, O_NONBLOCK) < 0)))
                result = -errno;
        m->output_open[0] = !terminal;
        m->output_open[1] = true;
        return result;
}

static void prepare(struct conmon *m, const struct conmon_options *options)
{
        uint64_t keep = options->runtime_stderr_max;

        if (keep > MONITOR_REPORT_TEXT_MAX)
                keep = MONITOR_REPORT_TEXT_MAX;
        /* The rest is zero already; writing it would touch memory that most containers never need.
         */
        m->options = options;
        m->state = CREATING;
        m->deadline = NEVER;
        m->streams[0].name = "stdout";
        m->streams[1].name = "stderr";
        m->console = (struct console)CONSOLE_NONE;
        m->log.fd = -1;
        m->clients.listener = -1;
        m->runtime_text = text_in(m->runtime_text_memory, keep + 1);
        fcntl(MONITOR_REPORT_FD, F_SETFD, FD_CLOEXEC);
        prepare_signals();
        umask(0022); /* the runtime hands it on to the container */
}

static enum state start(struct conmon *m, char *console_path, size_t size)
{
        const struct conmon_options *options = m->options;
        int result;

        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return fail(m, errno, "become the container's subreaper", NULL);
        result = clients_listen(&m->clients, options->socket);
        if (result < 0)
                return fail(m, result, "listen at", options->socket);
        result = crilog_open(&m->log, options->log, options->log_size_max);
        if (result < 0)
                return fail(m, result, "open the log", options->log);
        if (options->terminal) {
                result = prepare_console(m, console_path, size);
                if (result < 0)
                        return fail(m, result, "listen for the terminal beside", options->socket);
        }
        if (unlink(options->pid_file) < 0 && errno != ENOENT)
                return fail(m, errno, "remove an old", options->pid_file);
        result = start_command(m);
        if (result < 0)
                return fail(m, result, "start the runtime", options->command[0]);
        refuse_oom_kill();
        return CREATING;
}

int conmon_run(const struct conmon_options *options)
{
        struct conmon *m = &self;
        char console_path[PATH_MAX];

        prepare(m, options);
        m->state = start(m, console_path, sizeof(console_path));
        watch(m);
        for (unsigned i = 0; i < OUTPUTS; i++)
                close_output(m, i);
        crilog_close(&m->log);
        console_close(&m->console);
        if (m->clients.listener >= 0)
                unlink(options->socket);
        clients_close(&m->clients);
        return m->ended ? 0 : 1;
}
