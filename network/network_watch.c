#include "network/network_watch.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/task.h"

#define SETTLE_TIME                                                                                \
        (100 * NSEC_PER_MSEC) /* a file that is being written comes in several events              \
                               */
#define LOOK_INTERVAL (15 * NSEC_PER_SEC)
#define EVENTS_SIZE   4096
#define ARM_TRIES     16 /* the path may change while its watch is placed */

#define FOLDER_EVENTS                                                                              \
        (IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF |   \
         IN_MOVE_SELF | IN_ONLYDIR)
#define PARENT_EVENTS (IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/* What tells one state of the folder from another without reading it. */
struct seen {
        dev_t device;
        ino_t inode;
        struct timespec changed;
};

struct network_watch {
        char *directory;
        void (*changed)(void *argument);
        void *argument;
        int fd;
        int descriptor; /* inotify's, -1 when there is none */
        char *watched;  /* the path that it is on */
        struct watch *watch;
        struct timer *settle; /* runs while changes are held back */
        struct timer *look;
        struct seen seen;
};

static struct seen look_at(const char *directory)
{
        struct stat status;
        if (stat(directory, &status) < 0)
                return (struct seen){0};
        return (struct seen){status.st_dev, status.st_ino, status.st_mtim};
}

static bool seen_equal(const struct seen *left, const struct seen *right)
{
        return left->device == right->device && left->inode == right->inode &&
               left->changed.tv_sec == right->changed.tv_sec &&
               left->changed.tv_nsec == right->changed.tv_nsec;
}

static void settle_done(void *argument)
{
        struct network_watch *watch = argument;
        timer_free(watch->settle);
        watch->settle = NULL;
        watch->seen = look_at(watch->directory);
        watch->changed(watch->argument);
}

static void note_change(struct network_watch *watch)
{
        if (!watch->settle)
                watch->settle = timer_new(clock_after(SETTLE_TIME), settle_done, watch);
}

/* The folder itself, or its nearest parent that is there. */
static char *nearest(const char *directory)
{
        char *path = xstrdup(directory);
        struct stat status;
        for (;;) {
                if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
                        return path;
                char *slash = strrchr(path, '/');
                if (!slash || slash == path) {
                        strcpy(path, "/");
                        return path;
                }
                *slash = '\0';
        }
}

/* Puts the inotify watch where it belongs. Without one the regular look remains. */
static void arm(struct network_watch *watch)
{
        if (watch->descriptor >= 0)
                inotify_rm_watch(watch->fd, watch->descriptor);
        watch->descriptor = -1;
        for (unsigned i = 0; i < ARM_TRIES; i++) {
                AUTO_FREE char *path = nearest(watch->directory);
                bool is_folder = strcmp(path, watch->directory) == 0;
                int descriptor = inotify_add_watch(watch->fd, path,
                                                   is_folder ? FOLDER_EVENTS : PARENT_EVENTS);
                if (descriptor < 0 && errno != ENOENT && errno != ENOTDIR)
                        return;
                /* What came into being before the watch was placed would never be told. */
                AUTO_FREE char *now = nearest(watch->directory);
                if (descriptor >= 0 && strcmp(now, path) == 0) {
                        watch->descriptor = descriptor;
                        free(watch->watched);
                        watch->watched = take_ptr(path);
                        return;
                }
                if (descriptor >= 0)
                        inotify_rm_watch(watch->fd, descriptor);
        }
}

static bool on_folder(const struct network_watch *watch)
{
        return watch->descriptor >= 0 && strcmp(watch->watched, watch->directory) == 0;
}

static void on_events(void *argument, uint32_t ready)
{
        struct network_watch *watch = argument;
        char bytes[EVENTS_SIZE] __attribute__((aligned(__alignof__(struct inotify_event))));
        (void)ready;
        bool was_on_folder = on_folder(watch), lost = !was_on_folder, told = false;
        for (;;) {
                ssize_t length = read(watch->fd, bytes, sizeof bytes);
                if (length <= 0)
                        break;
                for (ssize_t at = 0; at < length;) {
                        const struct inotify_event *event =
                                (const struct inotify_event *)(bytes + at);
                        at += (ssize_t)(sizeof *event + event->len);
                        /* Removing a watch is told too: answering that would never end. */
                        if (event->wd != watch->descriptor && !(event->mask & IN_Q_OVERFLOW))
                                continue;
                        told = true;
                        if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT))
                                lost = true;
                }
        }
        if (!told)
                return;
        if (lost)
                arm(watch);
        /* Events in a parent matter only where they brought the folder. */
        if (was_on_folder || on_folder(watch))
                note_change(watch);
}

static void look_again(void *argument)
{
        struct network_watch *watch = argument;
        struct seen now = look_at(watch->directory);
        timer_free(watch->look);
        watch->look = timer_new(clock_after(LOOK_INTERVAL), look_again, watch);
        if (seen_equal(&now, &watch->seen))
                return;
        watch->seen = now;
        arm(watch);
        note_change(watch);
}

struct network_watch *network_watch_new(const char *directory, void (*changed)(void *argument),
                                        void *argument, struct error *err)
{
        AUTO_FD int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (fd < 0) {
                error_errno(err, errno, "watch %s: inotify", directory);
                return NULL;
        }
        struct network_watch *watch = xcalloc(1, sizeof *watch);
        *watch = (struct network_watch){.directory = xstrdup(directory),
                                        .changed = changed,
                                        .argument = argument,
                                        .fd = take_fd(&fd),
                                        .descriptor = -1};
        /* "/etc/cni/net.d/" is the same folder. */
        for (size_t length = strlen(watch->directory);
             length > 1 && watch->directory[length - 1] == '/'; length--)
                watch->directory[length - 1] = '\0';
        watch->watch = watch_new(watch->fd, EPOLLIN, on_events, watch, err);
        if (!watch->watch) {
                network_watch_free(watch);
                return NULL;
        }
        arm(watch);
        watch->seen = look_at(watch->directory);
        watch->look = timer_new(clock_after(LOOK_INTERVAL), look_again, watch);
        return watch;
}

void network_watch_free(struct network_watch *watch)
{
        if (!watch)
                return;
        timer_free(watch->settle);
        timer_free(watch->look);
        watch_free(watch->watch);
        close(watch->fd);
        free(watch->watched);
        free(watch->directory);
        free(watch);
}
