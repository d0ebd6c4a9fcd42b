#include "cri/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "cri/events.h"
#include "cri/metrics_server.h"
#include "cri/node.h"
#include "cri/server.h"
#include "cri/services.h"
#include "cri/streaming.h"
#include "cri/watchdog.h"
#include "network/namespace.h"

#define LOCK_NAME      "crisp.lock"
#define STATE_DIR_MODE 0700
#define RUN_DIR_MODE   0755 /* who may use the socket is said by the socket's own mode */
#define UMASK          022

/* What calls under way get to end by themselves when the daemon is told to stop. */
#define STOP_GRACE (250 * NSEC_PER_MSEC)

/*
 * glibc would give every thread a heap of its own, and keep there what was once one big reply's.
 * Two heaps do for one loop and one gRPC thread.
 */
#define MALLOC_ARENAS 2
#define MALLOC_LARGE                                                                               \
        (128 * 1024) /* bytes: from here on memory is mapped alone, and goes back at once */

struct daemon {
        const struct config *config;
        int lock_fd;
        int signal_fd;
        struct watch *signals;
        struct server *server;
        struct metrics_server *metrics;
        bool loop_made, node_made, stopping;
        int64_t started, stopped; /* monotonic ns */
};

/* What a child of a killed daemon gets to execute its program; until then it has the lock as well.
 */
#define LOCK_HEIR_TIME (5 * NSEC_PER_SEC)
#define LOCK_PAUSE     (5 * NSEC_PER_MSEC)

#define MOUNTS_VARIABLE "KUBENSMNT"

/* ---- the lock ---- */

/* The process id that the lock's holder wrote; "unknown" while it has not yet. */
static void read_holder(int fd, char *out, size_t size)
{
        ssize_t length = pread(fd, out, size - 1, 0);

        out[length > 0 ? length : 0] = '\0';
        out[strspn(out, "0123456789")] = '\0';
        if (!*out)
                snprintf(out, size, "unknown");
}

/*
 * As flock, but waits for what a killed daemon left: it held the lock together with a child that it
 * was just starting. A daemon that is alive is not waited for.
 */
static int take_lock(int fd)
{
        int64_t deadline = clock_after(LOCK_HEIR_TIME);
        char holder[16];

        while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return -1;
                read_holder(fd, holder, sizeof holder);
                pid_t pid = (pid_t)strtol(holder, NULL, 10);
                if (pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH ||
                    clock_monotonic() > deadline) {
                        errno = EWOULDBLOCK;
                        return -1;
                }
                nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE}, NULL);
        }
        return 0;
}

int daemon_lock(const char *run_dir, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/%s", run_dir, LOCK_NAME);
        AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        char pid[16];

        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        if (take_lock(fd) < 0) {
                if (errno != EWOULDBLOCK)
                        return error_errno(err, errno, "lock %s", path);
                read_holder(fd, pid, sizeof pid);
                error_set(err, ERROR_FAILED_PRECONDITION,
                          "%s is in use by another crisp daemon, process %s: stop it, or give this "
                          "one "
                          "a run_dir and state_dir of its own",
                          run_dir, pid);
                return -EBUSY;
        }
        /* For people alone; the lock is what counts. */
        int length = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
        if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)length, 0) != length)
                return error_errno(err, errno, "write %s", path);
        return take_fd(&fd);
}

/* ---- signals ---- */

static void stop_task(void *argument)
{
        struct daemon *daemon = argument;

        server_stop(daemon->server, clock_after(STOP_GRACE));
        suspects_stop(node.suspects);
        loop_stop();
}

static void take_signal(void *argument, uint32_t events)
{
        struct daemon *daemon = argument;
        struct signalfd_siginfo info;

        (void)events;
        if (read(daemon->signal_fd, &info, sizeof info) != sizeof info)
                return;
        if (daemon->stopping) { /* whoever asks twice does not want to wait for calls under way */
                loop_stop();
                return;
        }
        daemon->stopping = true;
        puller_leave(node.puller);
        events_stop();
        daemon->stopped = clock_monotonic();
        log_info("stopping; containers go on", "signal", sigabbrev_np((int)info.ssi_signo), NULL);
        sd_notify(0, "STOPPING=1");
        task_start("stop", stop_task, daemon);
}

/* Before there are threads: they inherit the mask. */
static int catch_signals(struct daemon *daemon, struct error *err)
{
        sigset_t caught;

        signal(SIGPIPE, SIG_IGN); /* EPIPE says the same to the one who writes */
        sigemptyset(&caught);
        sigaddset(&caught, SIGTERM);
        sigaddset(&caught, SIGINT);
        sigaddset(&caught, SIGHUP); /* of a terminal that is closed: there is nothing to reload */
        sigprocmask(SIG_BLOCK, &caught, NULL);
        daemon->signal_fd = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
        if (daemon->signal_fd < 0)
                return error_errno(err, errno, "signalfd");
        return 0;
}

/* ---- start ---- */

/* Namespaces are pinned by mounts: in a mount namespace of the daemon's own they would go with it,
 * and every pod's network too. */
static void check_mount_namespace(void)
{
        if (!getenv(MOUNTS_VARIABLE) && !namespace_mounts_are_shared_with_init())
                log_warning(
                        "the daemon has a mount namespace of its own: when it ends, pods lose "
                        "their "
                        "namespaces. With systemd, remove PrivateTmp, ProtectSystem and the like "
                        "from the unit",
                        NULL);
}

/* Who hides the kubelet's mounts from the rest of the machine tells all who share them where that
 * namespace is pinned. */
static int join_mounts(struct error *err)
{
        const char *path = getenv(MOUNTS_VARIABLE);
        if (!path || !*path)
                return 0;
        int result = namespace_join_mounts(path, err);
        return result < 0 ? error_context(err, MOUNTS_VARIABLE) : 0;
}

/*
 * setns leads to the root of a mount namespace, not to that of a chroot, and a pivot_root inside a
 * chroot does not replace it. So a command that a runtime executes in a container would run in the
 * machine's own files. Joins the namespace that we are in, which only a process with one thread
 * may.
 */
static int check_root(struct error *err)
{
        struct stat ours, whole;
        AUTO_FD int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

        if (fd < 0 || stat("/", &ours) < 0 || setns(fd, CLONE_NEWNS) < 0 || stat("/", &whole) < 0 ||
            (ours.st_dev == whole.st_dev && ours.st_ino == whole.st_ino))
                return 0;
        return error_set(
                err, ERROR_FAILED_PRECONDITION,
                "the daemon is in a chroot: commands in containers would run in the machine's own "
                "files. Use pivot_root in a mount namespace, a container or a virtual machine");
}

/* It would come up, and then fail each pod at another step. */
static int check_user(struct error *err)
{
        if (geteuid() == 0)
                return 0;
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "the daemon must run as root: namespaces, mounts and cgroups of pods are "
                         "made by it, and a rootless mode is not there");
}

static int make_folders(const struct config *config, struct error *err)
{
        int result = file_make_directories(config->run_dir, RUN_DIR_MODE, err);

        if (result == 0)
                result = file_make_directories(config->state_dir, STATE_DIR_MODE, err);
        return result;
}

static int start_server(struct daemon *daemon, struct error *err)
{
        static struct rpc_service services[3];

        services[0] = runtime_service;
        services[1] = image_service;
        services[2] = crisp_service;
        struct server_options options = {
                .listen = daemon->config->api.listen,
                .message_max = daemon->config->limits.max_message_bytes,
                .calls_max = daemon->config->limits.max_tasks,
                .services = services,
                .service_count = sizeof services / sizeof *services,
        };
        return server_start(&options, &daemon->server, err);
}

static int start_metrics(struct daemon *daemon, struct error *err)
{
        const struct config *config = daemon->config;
        struct metrics_server_options options = {
                .listen = config->metrics.listen,
                .tls_cert = config->metrics.tls_cert,
                .tls_key = config->metrics.tls_key,
        };
        return options.listen[0] ? metrics_server_start(&options, &daemon->metrics, err) : 0;
}

/* In this order: nothing is touched before the lock is ours, and no call comes before what it asks
 * for is known. */
static int start(struct daemon *daemon, struct error *err)
{
        const struct config *config = daemon->config;
        int result = check_user(err);

        if (result == 0)
                result = join_mounts(err);
        if (result == 0)
                result = check_root(err);
        if (result == 0)
                result = catch_signals(daemon, err);
        if (result == 0)
                result = make_folders(config, err);
        if (result < 0)
                return result;
        result = daemon_lock(config->run_dir, err);
        if (result < 0)
                return result;
        daemon->lock_fd = result;

        result = loop_init(config->limits.max_workers, err);
        if (result < 0)
                return result;
        daemon->loop_made = true;
        daemon->signals = watch_new(daemon->signal_fd, EPOLLIN, take_signal, daemon, err);
        if (!daemon->signals)
                return -EIO;

        result = node_open(config, err);
        if (result < 0)
                return result;
        daemon->node_made = true;
        result = node_recover(err);
        if (result == 0)
                result = streaming_start(config, err);
        if (result == 0)
                result = start_metrics(daemon, err);
        return result < 0 ? result : start_server(daemon, err);
}

/* Milliseconds since a monotonic time, as text. */
static const char *elapsed(char out[32], int64_t since)
{
        snprintf(out, 32, "%" PRId64, (clock_monotonic() - since) / NSEC_PER_MSEC);
        return out;
}

static void end(struct daemon *daemon)
{
        server_free(daemon->server);
        metrics_server_free(daemon->metrics);
        streaming_stop();
        if (daemon->node_made)
                node_close();
        watch_free(daemon->signals);
        if (daemon->loop_made)
                loop_fini();
        cleanup_fd(&daemon->signal_fd);
        cleanup_fd(&daemon->lock_fd);
}

/* As a service manager leaves them: pods' files, and containers whose runtime sets no umask, would
 * have that of whoever starts us; and we read nothing. */
static void leave_the_caller(void)
{
        umask(UMASK);
        int fd = open("/dev/null", O_RDONLY);
        if (fd > STDIN_FILENO) {
                dup2(fd, STDIN_FILENO);
                close(fd);
        }
}

int daemon_serve(const struct config *config)
{
        struct daemon daemon = {
                .config = config, .lock_fd = -1, .signal_fd = -1, .started = clock_monotonic()};
        struct error err = {0};
        char text[32];

        mallopt(M_ARENA_MAX, MALLOC_ARENAS);
        mallopt(M_MMAP_THRESHOLD, MALLOC_LARGE);
        mallopt(M_TRIM_THRESHOLD, MALLOC_LARGE);
        leave_the_caller();
        process_raise_open_files();
        check_mount_namespace();
        int result = start(&daemon, &err);
        if (result < 0) {
                log_failure(&err, "the daemon cannot start", NULL);
                end(&daemon);
                return result;
        }
        log_info("crisp is ready", "version", CRISP_VERSION, "socket", config->api.listen, "ms",
                 elapsed(text, daemon.started), NULL);
        sd_notify(0, "READY=1");
        watchdog_start(config->api.listen);
        loop_run();
        end(&daemon);
        log_info("crisp has stopped", "ms", elapsed(text, daemon.stopped), NULL);
        return 0;
}
