/*
 * coroutine: a function with a stack of its own, which can be left where it is and entered again.
 *
 * The switching itself, and what the sanitizers must be told of it; base/task.h is what others use.
 * One thread of the process has them, and no coroutine enters another.
 */
#ifndef CRISP_BASE_COROUTINE_H
#define CRISP_BASE_COROUTINE_H

#include <stdbool.h>

/* Bytes of address space; only what is touched costs memory. Four times as much under sanitizers.
 */
#define COROUTINE_STACK_SIZE (128 * 1024)

struct coroutine;

/* One that has not begun; free it when it has ended, or where nobody will enter it again (what its
 * stack holds is not unwound). Never null. */
struct coroutine *coroutine_new(void (*function)(void *argument), void *argument);
void coroutine_free(struct coroutine *coroutine);

/* Runs it until it leaves (true) or its function has returned (false). */
bool coroutine_enter(struct coroutine *coroutine);
/* From within the one that runs: back to where it was entered. */
void coroutine_leave(void);

/* Gives back the stacks that are kept for the next ones. */
void coroutine_fini(void);

#endif
