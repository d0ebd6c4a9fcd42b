#include "conmon/output.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "conmon/clock.h"

static int place_of(unsigned which)
{
        return (int)which + PLACE_STDOUT;
}

void output_init(struct output *output, size_t runtime_text_max)
{
        size_t size = sizeof(output->runtime_text_memory);

        if (runtime_text_max < size)
                size = runtime_text_max + 1;
        output->runtime_text = text_in(output->runtime_text_memory, size);
        output->streams[OUTPUT_STDOUT].name = "stdout";
        output->streams[OUTPUT_STDERR].name = "stderr";
        output->streams[OUTPUT_STDERR].is_error = true;
        for (unsigned i = 0; i < OUTPUTS; i++)
                output->streams[i].bytes = output->pending[i];
        output->log.fd = output->journal.fd = -1;
        output->from_runtime = true;
}

int output_settle(int fd, enum output_place place)
{
        int result = dup3(fd, (int)place, O_CLOEXEC) < 0 ? -errno : 0;

        close(fd);
        return result;
}

int output_poll_fd(const struct output *output, unsigned which)
{
        if (!output->open[which] || (which == OUTPUT_STDOUT && output->hung_up) ||
            attach_is_behind(&output->attach))
                return -1;
        return place_of(which);
}

void output_close(struct output *output, unsigned which)
{
        if (!output->open[which])
                return;
        output->open[which] = false;
        crilog_finish(&output->log, &output->streams[which], clock_now(CLOCK_REALTIME));
        attach_end(&output->attach, which);
        close(place_of(which));
        /* Takes the place, the lowest that is free, so that no later descriptor comes to lie there.
         */
        if (open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
                return;
}

size_t output_read(struct output *output, unsigned which)
{
        ssize_t got = read(place_of(which), output->chunk, sizeof(output->chunk));

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        /* An init may close its terminal and open it again. */
        if (got < 0 && errno == EIO && which == OUTPUT_STDOUT && output->terminal_stays) {
                output->hung_up = true;
                return 0;
        }
        if (got <= 0) {
                output_close(output, which);
                return 0;
        }
        if (output->from_runtime) {
                text_keep_tail(&output->runtime_text, output->chunk, (size_t)got);
                return (size_t)got;
        }
        crilog_write(&output->log, &output->streams[which], output->chunk, (size_t)got,
                     clock_now(CLOCK_REALTIME));
        attach_write(&output->attach, which, output->chunk, (size_t)got);
        return (size_t)got;
}

static void drain(struct output *output, unsigned which)
{
        size_t done = 0;
        int waiting = 0;

        if (!output->open[which])
                return;
        if (ioctl(place_of(which), FIONREAD, &waiting) < 0)
                waiting = 0;
        while (done <= (size_t)waiting + OUTPUT_READ_SIZE) {
                size_t got = output_read(output, which);

                if (!got)
                        return;
                done += got;
        }
}

void output_drain(struct output *output)
{
        for (unsigned i = 0; i < OUTPUTS; i++)
                drain(output, i);
}

bool output_any_open(const struct output *output)
{
        return output->open[OUTPUT_STDOUT] || output->open[OUTPUT_STDERR];
}
