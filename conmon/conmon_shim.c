/* A container that a shim runs: the monitor asks for its creation and waits for its end. */
#include <unistd.h>

#include "conmon/attach.h"
#include "conmon/clock.h"
#include "conmon/command.h"
#include "conmon/conmon_private.h"
#include "conmon/launch.h"
#include "conmon/oom.h"
#include "conmon/report.h"

#define TRIES               3 /* to reach a shim whose connection was lost */
#define WAIT_STREAM         3 /* of the request that waits for the end */
#define CREATE_RESPONSE_PID 1 /* field of a task's CreateTaskResponse */

void conmon_shim_close(struct conmon *m)
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
        while (m->shim_losses++ < TRIES) {
                conmon_shim_close(m);
                m->shim = shim_connect(m->options->shim);
                if (m->shim >= 0 && ask_for_end(m) == 0)
                        return RUNNING;
        }
        conmon_shim_close(m);
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

enum state conmon_shim_created(struct conmon *m, unsigned unused)
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
        oom_watch_open(&m->memory, m->options->oom_file, m->options->oom_parent_file);
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
enum state conmon_shim_told(struct conmon *m, unsigned unused)
{
        struct shim_answer answer;
        int result = shim_receive(m->shim, &m->shim_reader, &answer);
        struct shim_end end;

        if (result == 0)
                return RUNNING;
        if (result > 0 && answer.stream != WAIT_STREAM)
                return RUNNING;
        if (result < 0 || answer.code)
                return shim_lost(m);
        end = shim_wait_answer(&answer);
        conmon_shim_close(m);
        m->end.exit_code = (int)(end.exit_code & 0xff);
        m->end.signal =
                m->end.exit_code > 128 && m->end.exit_code <= 128 + 64 ? m->end.exit_code - 128 : 0;
        m->end.finished_at = end.finished_at ? end.finished_at : clock_now(CLOCK_REALTIME);
        m->end.oom_killed = conmon_oom_killed(m);
        m->recorded = conmon_write_record(m);
        conmon_expect_last_words(m);
        m->output.hung_up = false;
        return output_any_open(&m->output) ? FLUSHING : conmon_tell_end(m);
}

/* The shim holds its end of the pipe open itself: it has to be told that nothing more comes. */
enum state conmon_shim_attach_served(struct conmon *m, unsigned unused)
{
        if (m->shim_stdin && !m->output.attach.has_input) {
                m->shim_stdin = false;
                /* A shim that is gone is noticed where its answers are read. */
                shim_send_file(m->shim, m->options->shim_close, m->output.chunk,
                               sizeof(m->output.chunk));
        }
        return m->state;
}

enum state conmon_shim_flush(struct conmon *m, unsigned which)
{
        conmon_linger_output(m, which);
        return output_any_open(&m->output) ? FLUSHING : conmon_tell_end(m);
}

enum state conmon_shim_flushed(struct conmon *m, unsigned unused)
{
        enum state next = conmon_tell_end(m);

        /* It had its time. */
        return next == LINGERING ? DONE : next;
}
