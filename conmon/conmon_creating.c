/* Until the container is there: the runtime's command, its words and its terminal. */
#include <errno.h>
#include <sys/wait.h>

#include "conmon/attach.h"
#include "conmon/clock.h"
#include "conmon/command.h"
#include "conmon/conmon_private.h"
#include "conmon/launch.h"
#include "conmon/oom.h"
#include "conmon/report.h"

#define HANGUP_PAUSE                                                                               \
        (NANOSECONDS / 4) /* until a terminal that nobody has open is looked at again */

static enum state fail(int number, const char *step, const char *path)
{
        report_failed(number, step, path);
        return DONE;
}

enum state conmon_collect_output(struct conmon *m, unsigned which)
{
        output_read(&m->output, which);
        if (m->output.hung_up)
                m->deadline = clock_now(CLOCK_MONOTONIC) + HANGUP_PAUSE;
        return m->state;
}

/*
 * The terminal is not read before the runtime has ended: until the container's process has opened
 * the other side, it looks hung up.
 */
enum state conmon_receive_console(struct conmon *m, unsigned unused)
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
                conmon_receive_console(m, 0);
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
enum state conmon_runtime_changed(struct conmon *m, unsigned unused)
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
        oom_watch_open(&m->memory, m->options->oom_file, m->options->oom_parent_file);
        report_ok(pid, m->end.start_time);
        /* It may have ended already, and its SIGCHLD be spent. */
        m->state = RUNNING;
        return conmon_container_changed(m, 0);
}
