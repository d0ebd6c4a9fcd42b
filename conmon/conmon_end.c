/* From the container's end on: it is recorded, told, and its last output taken. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "conmon/attach.h"
#include "conmon/clock.h"
#include "conmon/conmon_private.h"
#include "conmon/oom.h"

/*
 * Processes that outlive the container's first one may hold its output open: those in a PID
 * namespace that it shared, which the daemon is about to kill, or whoever got the descriptor over a
 * socket. Their last words have this long, counted from the last byte; one that writes on and on is
 * cut off at the second bound.
 */
#define LINGER_SILENCE (1 * NANOSECONDS)
#define LINGER_MAX     (10 * NANOSECONDS)

#define RECORD_RETRY (1 * NANOSECONDS)

/* Those who are attached still get what they have not taken yet, as long as they take it. */
static enum state lingering(struct conmon *m)
{
        return output_any_open(&m->output) || attach_is_behind(&m->output.attach) ? LINGERING
                                                                                  : DONE;
}

void conmon_expect_last_words(struct conmon *m)
{
        int64_t now = clock_now(CLOCK_MONOTONIC);

        m->linger_end = now + LINGER_MAX;
        m->deadline = now + LINGER_SILENCE;
}

bool conmon_write_record(const struct conmon *m)
{
        int result = exit_record_write(m->options->directory, &m->end);

        /* Where its folder is gone, the container was removed, and nobody will ask any more. */
        return result == 0 || result == -ENOENT || result == -ENOTDIR;
}

enum state conmon_record_end(struct conmon *m, unsigned unused)
{
        if (!m->recorded)
                m->recorded = conmon_write_record(m);
        if (m->recorded) {
                conmon_expect_last_words(m);
                return lingering(m);
        }
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

bool conmon_oom_killed(const struct conmon *m)
{
        int64_t kills = oom_kills_below(m->options->oom_file);

        return kills >= 0 ? kills > 0 : oom_watch_killed(&m->memory, m->end.signal == SIGKILL);
}

enum state conmon_tell_end(struct conmon *m)
{
        enum state next;

        m->ended = true;
        m->output.terminal_stays = m->output.hung_up = false;
        output_drain(&m->output);
        /*
         * The record first, so that nothing is told that a crash could take back. On a full disk it
         * is told nevertheless: to make room, the kubelet must see its containers end.
         */
        next = conmon_record_end(m, 0);
        conmon_announce_end(m);
        return next;
}

enum state conmon_container_changed(struct conmon *m, unsigned unused)
{
        if (!reap(m))
                return m->state;
        m->end.finished_at = clock_now(CLOCK_REALTIME);
        m->end.oom_killed = conmon_oom_killed(m);
        return conmon_tell_end(m);
}

enum state conmon_reap_others(struct conmon *m, unsigned unused)
{
        reap(m);
        return m->state;
}

enum state conmon_linger_output(struct conmon *m, unsigned which)
{
        if (output_read(&m->output, which)) {
                int64_t deadline = clock_now(CLOCK_MONOTONIC) + LINGER_SILENCE;

                m->deadline = deadline < m->linger_end ? deadline : m->linger_end;
        }
        return lingering(m);
}

enum state conmon_linger_attached(struct conmon *m, unsigned unused)
{
        return lingering(m);
}

/* While somebody is behind nothing was read: that was no silence. */
enum state conmon_finish(struct conmon *m, unsigned unused)
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
