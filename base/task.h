/*
 * task: sequential code that waits without holding a thread.
 *
 * The daemon's state belongs to one thread, the loop's. Tasks are coroutines with stacks of their
 * own that run on it one at a time and change only where they wait: for an event, a time, a
 * descriptor or a worker. Between two waits a task is alone, so the state needs no locks; a
 * thousand waiting requests cost a thousand small stacks and nothing else. What would hold the
 * thread up (fsync, mount, unlink of a tree, a big parse) goes to a worker with task_offload.
 * Nothing on the loop's thread may block.
 *
 * Unless a function says otherwise, it may be called from the loop's thread only; those that wait,
 * from a task only.
 */
#ifndef CRISP_BASE_TASK_H
#define CRISP_BASE_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

struct task;
typedef void task_function(void *argument);

/* ---- the loop ---- */

/* Makes this thread the loop's. max_workers bounds the threads that task_offload uses. Once per
 * process. */
int loop_init(unsigned max_workers, struct error *err);
/* Runs until loop_stop; then returns at once, with tasks left where they wait. */
void loop_run(void);
void loop_stop(void);
/* Frees what loop_init made, with all tasks (without unwinding them). Joins idle workers only. */
void loop_fini(void);
/* Any thread: runs function(argument) on the loop's thread soon, outside any task. */
void loop_post(void (*function)(void *), void *argument);

/* A descriptor that the loop watches. callback runs on the loop's thread, outside any task. */
struct watch;
typedef void watch_function(void *argument, uint32_t events);
/* events are EPOLLIN, EPOLLOUT, ... (level-triggered). The descriptor stays the caller's, and open
 * until watch_free. */
struct watch *watch_new(int fd, uint32_t events, watch_function *callback, void *argument,
                        struct error *err);
void watch_set(struct watch *watch, uint32_t events);
void watch_free(struct watch *watch); /* also from within its callback; null is allowed */

/* A call at a time. */
struct timer;
struct timer *timer_new(int64_t deadline, void (*callback)(void *), void *argument);
void timer_free(struct timer *timer); /* before or after it went off, also from its callback; null
                                         is allowed */

/* ---- tasks ---- */

/* Starts a task; it runs first when the caller waits or returns to the loop. name (a literal) is
 * for explanations. */
struct task *task_start(const char *name, task_function *function, void *argument);
struct task *task_self(void); /* null outside tasks */
unsigned task_count(void);

/*
 * Interrupts a task: every interruptible wait of it, present and future, ends with -ECANCELED.
 * Waits are interruptible between task_set_interruptible(true) and (false); false at the start.
 * Returns the old value.
 */
void task_interrupt(struct task *task);
bool task_set_interruptible(bool interruptible);
bool task_interrupted(void);
/* Between task_shield(true) and (false) no wait of the current task is interruptible, whatever
 * says so: for what goes on when nobody waits for it any more. Not nested. */
void task_shield(bool shielded);

/*
 * An event: tasks wait on it, anything on the loop's thread signals it. It has no memory: check the
 * condition, wait, check again. Zeroes are a valid new event; nobody may wait on it when its memory
 * goes.
 */
struct event {
        struct waiter *first, *last;
};
void event_signal(struct event *event); /* wakes all that wait now */

/* All of these return 0, -ETIMEDOUT at the deadline (monotonic ns, or CLOCK_NEVER), or -ECANCELED.
 */
int task_wait(struct event *event, int64_t deadline);
int task_sleep_until(int64_t deadline); /* 0 when the time has come */
/* Waits until fd is ready for events (EPOLLIN, EPOLLOUT); stores those that are in *ready unless
 * null. */
int task_wait_fd(int fd, uint32_t events, int64_t deadline, uint32_t *ready);

/*
 * Runs function(argument) on a worker thread and returns what it returned. Not interruptible. Waits
 * for a free worker where all max_workers are busy. argument may live on the task's stack.
 */
int task_offload(int (*function)(void *argument), void *argument);

/* A lock for tasks: held across waits, so use it for the order of operations on one object, never
 * for data. */
struct task_lock {
        bool held;
        struct event released;
};
int task_lock(struct task_lock *lock, int64_t deadline);
void task_unlock(struct task_lock *lock);

#endif
