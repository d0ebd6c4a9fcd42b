#include "cri/pod_pins.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/table.h"
#include "base/task.h"
#include "cri/node.h"
#include "cri/pod.h"

/* Each container that comes or goes changes the table: pods are looked at once for all of them. */
#define PAUSE NSEC_PER_SEC

/* proc_pid_mountinfo(5): a change of the table is told as EPOLLPRI, once for each open file. */
static struct {
        int fd;
        struct watch *watch;
        struct timer *timer;
} pins = {.fd = -1};

static void look(void *argument)
{
        (void)argument;
        timer_free(take_ptr(pins.timer));
        size_t cursor = 0;
        for (struct pod *each; (each = table_next(node.pods, &cursor, NULL));)
                pod_check(each);
}

static void mounts_changed(void *argument, uint32_t events)
{
        (void)argument;
        (void)events;
        if (!pins.timer)
                pins.timer = timer_new(clock_after(PAUSE), look, NULL);
}

int pod_pins_open(struct error *err)
{
        static const char path[] = "/proc/self/mountinfo";
        pins.fd = open(path, O_RDONLY | O_CLOEXEC);
        if (pins.fd < 0)
                return error_errno(err, errno, "open %s", path);
        pins.watch = watch_new(pins.fd, EPOLLPRI, mounts_changed, NULL, err);
        return pins.watch ? 0 : err->number;
}

void pod_pins_close(void)
{
        watch_free(take_ptr(pins.watch));
        timer_free(take_ptr(pins.timer));
        if (pins.fd >= 0)
                close(pins.fd);
        pins.fd = -1;
}
