#include "base/task.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/coroutine.h"
#include "base/memory.h"
#include "base/timer.h"
#include "base/worker.h"

#define EVENTS_AT_A_TIME 64

struct waiter {
        struct task *task;
        struct event *event; /* null when signalled */
        struct waiter *previous, *next;
};

struct task {
        const char *name;
        struct coroutine *coroutine;
        struct timer_entry timer;
        struct task *next_ready;
        int wait_result;
        bool waiting; /* has switched away and nothing has woken it */
        bool interruptible, interrupted, shielded;
};

struct watch {
        int fd;
        bool dead;
        watch_function *callback;
        void *argument;
        struct watch *previous, *next;
};

struct post {
        void (*function)(void *);
        void *argument;
        struct post *next;
};

static struct {
        int epoll_fd, wake_fd;
        bool stopping;
        struct watch *watches; /* all that are open: whoever gave their argument away can still be
                                  found */
        struct task *ready_first, **ready_last;
        unsigned tasks;
        struct watch *dead_watches;
        pthread_mutex_t posts_lock; /* protects the two below */
        struct post *posts_first, **posts_last;
} loop = {.epoll_fd = -1, .wake_fd = -1, .posts_lock = PTHREAD_MUTEX_INITIALIZER};

/* Null outside tasks, on every thread. */
static _Thread_local struct task *current_task;

/* ---- the loop ---- */

int loop_init(unsigned max_workers, struct error *err)
{
        assert(loop.epoll_fd < 0);
        loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (loop.epoll_fd < 0)
                return error_errno(err, errno, "event loop: epoll_create1");
        loop.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
        if (loop.wake_fd < 0 || epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, loop.wake_fd, &event) < 0) {
                int number = errno;
                loop_fini();
                return error_errno(err, number, "event loop: eventfd");
        }
        loop.ready_first = NULL;
        loop.ready_last = &loop.ready_first;
        loop.posts_first = NULL;
        loop.posts_last = &loop.posts_first;
        loop.stopping = false;
        worker_pool_init(max_workers);
        return 0;
}

void loop_post(void (*function)(void *), void *argument)
{
        struct post *post = xcalloc(1, sizeof *post);
        post->function = function;
        post->argument = argument;
        pthread_mutex_lock(&loop.posts_lock);
        bool first = !loop.posts_first;
        *loop.posts_last = post;
        loop.posts_last = &post->next;
        int fd = loop.wake_fd;
        pthread_mutex_unlock(&loop.posts_lock);
        if (first && fd >= 0) {
                uint64_t one = 1;
                /* A full counter is a wake-up too. */
                if (write(fd, &one, sizeof one) < 0)
                        assert(errno == EAGAIN);
        }
}

static void run_posts(void)
{
        uint64_t count;
        if (read(loop.wake_fd, &count, sizeof count) < 0)
                assert(errno == EAGAIN);
        pthread_mutex_lock(&loop.posts_lock);
        struct post *post = loop.posts_first;
        loop.posts_first = NULL;
        loop.posts_last = &loop.posts_first;
        pthread_mutex_unlock(&loop.posts_lock);
        while (post) {
                struct post *next = post->next;
                post->function(post->argument);
                free(post);
                post = next;
        }
}

/* From the loop into a task, until the task waits or ends. */
static void run_task(struct task *task)
{
        current_task = task;
        bool goes_on = coroutine_enter(task->coroutine);
        current_task = NULL;
        if (goes_on)
                return;
        coroutine_free(task->coroutine);
        free(task);
        loop.tasks--;
}

static void run_ready(void)
{
        /* Only those that are ready now: what they wake runs after the next look at the
         * descriptors. */
        struct task *task = loop.ready_first;
        loop.ready_first = NULL;
        loop.ready_last = &loop.ready_first;
        while (task) {
                struct task *next = task->next_ready;
                run_task(task);
                task = next;
        }
}

void loop_run(void)
{
        struct epoll_event events[EVENTS_AT_A_TIME];
        while (!loop.stopping) {
                run_ready();
                if (loop.stopping)
                        break;
                int timeout = loop.ready_first ? 0 : clock_poll_timeout(timer_next());
                int count = epoll_wait(loop.epoll_fd, events, EVENTS_AT_A_TIME, timeout);
                for (int i = 0; i < count; i++) {
                        struct watch *watch = events[i].data.ptr;
                        if (!watch)
                                run_posts();
                        else if (!watch->dead)
                                watch->callback(watch->argument, events[i].events);
                }
                while (loop.dead_watches) {
                        struct watch *dead = loop.dead_watches;
                        loop.dead_watches = dead->next;
                        free(dead);
                }
                timer_run_due(clock_monotonic());
        }
}

void loop_stop(void)
{
        loop.stopping = true;
}

void loop_fini(void)
{
        if (loop.epoll_fd < 0)
                return;
        worker_pool_fini();
        pthread_mutex_lock(&loop.posts_lock);
        if (loop.wake_fd >= 0)
                close(loop.wake_fd);
        loop.wake_fd = -1;
        while (loop.posts_first) {
                struct post *next = loop.posts_first->next;
                free(loop.posts_first);
                loop.posts_first = next;
        }
        loop.posts_last = &loop.posts_first;
        pthread_mutex_unlock(&loop.posts_lock);
        coroutine_fini();
        close(loop.epoll_fd);
        loop.epoll_fd = -1;
        loop.tasks = 0;
}

/* ---- watches ---- */

struct watch *watch_new(int fd, uint32_t events, watch_function *callback, void *argument,
                        struct error *err)
{
        struct watch *watch = xcalloc(1, sizeof *watch);
        *watch = (struct watch){.fd = fd, .callback = callback, .argument = argument};
        struct epoll_event event = {.events = events, .data.ptr = watch};
        if (epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
                int number = errno;
                free(watch);
                error_errno(err, number, "watch descriptor %d", fd);
                errno = number;
                return NULL;
        }
        watch->next = loop.watches;
        if (watch->next)
                watch->next->previous = watch;
        loop.watches = watch;
        return watch;
}

void watch_set(struct watch *watch, uint32_t events)
{
        struct epoll_event event = {.events = events, .data.ptr = watch};
        int result = epoll_ctl(loop.epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
        assert(result == 0);
        (void)result;
}

void watch_free(struct watch *watch)
{
        if (!watch || watch->dead)
                return;
        /* Closing it first would not do: a child between clone and exec still holds a copy, and
         * with it the watch. */
        int result = epoll_ctl(loop.epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
        assert(result == 0);
        (void)result;
        /* The batch of events under way may still name it. */
        watch->dead = true;
        if (watch->previous)
                watch->previous->next = watch->next;
        else
                loop.watches = watch->next;
        if (watch->next)
                watch->next->previous = watch->previous;
        watch->next = loop.dead_watches;
        loop.dead_watches = watch;
}

/* ---- tasks ---- */

struct task *task_start(const char *name, task_function *function, void *argument)
{
        struct task *task = xcalloc(1, sizeof *task);
        task->name = name;
        task->coroutine = coroutine_new(function, argument);
        *loop.ready_last = task;
        loop.ready_last = &task->next_ready;
        loop.tasks++;
        return task;
}

struct task *task_self(void)
{
        return current_task;
}

unsigned task_count(void)
{
        return loop.tasks;
}

/* Lets a waiting task go on; the first to wake it decides the result. */
static void wake(struct task *task, int result)
{
        if (!task->waiting)
                return;
        task->waiting = false;
        task->wait_result = result;
        task->next_ready = NULL;
        *loop.ready_last = task;
        loop.ready_last = &task->next_ready;
}

static void wake_at_deadline(void *argument)
{
        wake(argument, -ETIMEDOUT);
}

static int wait_for_wake(struct task *task, int64_t deadline)
{
        struct timer_entry *timer = &task->timer;
        if (deadline != CLOCK_NEVER)
                timer_add(timer, deadline, wake_at_deadline, task);
        task->waiting = true;
        coroutine_leave();
        timer_remove(timer);
        return task->wait_result;
}

void task_interrupt(struct task *task)
{
        task->interrupted = true;
        if (task->interruptible && !task->shielded)
                wake(task, -ECANCELED);
}

void task_shield(bool shielded)
{
        assert(current_task && current_task->shielded != shielded);
        current_task->shielded = shielded;
}

bool task_set_interruptible(bool interruptible)
{
        struct task *task = current_task;
        assert(task);
        bool before = task->interruptible;
        task->interruptible = interruptible;
        return before;
}

bool task_interrupted(void)
{
        return current_task && current_task->interrupted;
}

static void unlink_waiter(struct waiter *waiter)
{
        struct event *event = waiter->event;
        if (!event)
                return;
        if (waiter->previous)
                waiter->previous->next = waiter->next;
        else
                event->first = waiter->next;
        if (waiter->next)
                waiter->next->previous = waiter->previous;
        else
                event->last = waiter->previous;
        waiter->event = NULL;
}

void event_signal(struct event *event)
{
        while (event->first) {
                struct waiter *waiter = event->first;
                unlink_waiter(waiter);
                wake(waiter->task, 0);
        }
}

int task_wait(struct event *event, int64_t deadline)
{
        struct task *task = current_task;
        assert(task);
        if (task->interruptible && task->interrupted && !task->shielded)
                return -ECANCELED;
        struct waiter waiter = {.task = task, .event = event, .previous = event->last};
        if (event->last)
                event->last->next = &waiter;
        else
                event->first = &waiter;
        event->last = &waiter;
        int result = wait_for_wake(task, deadline);
        unlink_waiter(&waiter);
        return result;
}

int task_sleep_until(int64_t deadline)
{
        struct event nothing = {0};
        int result = task_wait(&nothing, deadline);
        return result == -ETIMEDOUT ? 0 : result;
}

struct fd_wait {
        struct event ready;
        uint32_t events;
};

static void fd_is_ready(void *argument, uint32_t events)
{
        struct fd_wait *wait = argument;
        wait->events = events;
        event_signal(&wait->ready);
}

int task_wait_fd(int fd, uint32_t events, int64_t deadline, uint32_t *ready)
{
        struct fd_wait wait = {.ready = {0}};
        struct error err;
        struct watch *watch = watch_new(fd, events, fd_is_ready, &wait, &err);
        if (!watch) {
                if (errno != EPERM)
                        return err.number;
                /* A regular file: always ready, and epoll does not know it. */
                wait.events = events & (EPOLLIN | EPOLLOUT);
        }
        int result = 0;
        while (watch && !wait.events && result == 0)
                result = task_wait(&wait.ready, deadline);
        watch_free(watch);
        if (wait.events)
                result = 0;
        if (result == 0 && ready)
                *ready = wait.events;
        return result;
}

struct offload {
        struct worker_job job;
        int (*function)(void *);
        void *argument;
        int result;
        bool done;
        struct event finished;
};

static void offload_done(void *argument)
{
        struct offload *offload = argument;
        offload->done = true;
        event_signal(&offload->finished);
}

static void offload_run(struct worker_job *job)
{
        struct offload *offload = (struct offload *)job;
        offload->result = offload->function(offload->argument);
        loop_post(offload_done, offload);
}

int task_offload(int (*function)(void *argument), void *argument)
{
        struct offload offload = {
                .job.run = offload_run, .function = function, .argument = argument};
        bool interruptible = task_set_interruptible(false);
        worker_submit(&offload.job);
        while (!offload.done)
                task_wait(&offload.finished, CLOCK_NEVER);
        task_set_interruptible(interruptible);
        return offload.result;
}

int task_lock(struct task_lock *lock, int64_t deadline)
{
        while (lock->held) {
                int result = task_wait(&lock->released, deadline);
                if (result < 0 && lock->held)
                        return result;
        }
        lock->held = true;
        return 0;
}

void task_unlock(struct task_lock *lock)
{
        assert(lock->held);
        lock->held = false;
        event_signal(&lock->released);
}
