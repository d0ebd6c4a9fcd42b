#include "base/coroutine.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/memory.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if defined(WITH_ASAN) || defined(WITH_TSAN)
#define STACK_SIZE (COROUTINE_STACK_SIZE * 4) /* instrumented frames are several times larger */
#else
#define STACK_SIZE COROUTINE_STACK_SIZE
#endif

#define GUARD_SIZE  4096
#define STACKS_KEPT 16 /* of ended ones, for the next */

struct coroutine {
        void (*function)(void *);
        void *argument;
        ucontext_t context;
        char *stack; /* guard page first */
        bool ended;
#ifdef WITH_ASAN
        void *fake_stack;
#endif
#ifdef WITH_TSAN
        void *fiber;
#endif
};

/* What runs them: the one thread, outside all of them. */
static struct {
        ucontext_t context;
        char *stacks[STACKS_KEPT];
        unsigned stacks_kept;
#ifdef WITH_ASAN
        void *fake_stack;
        const void *stack_bottom;
        size_t stack_size;
#endif
#ifdef WITH_TSAN
        void *fiber;
#endif
} outside;

static struct coroutine *running;

static void stack_free(char *stack)
{
#ifdef WITH_ASAN
        __asan_unpoison_memory_region(stack + GUARD_SIZE, STACK_SIZE);
        __lsan_unregister_root_region(stack + GUARD_SIZE, STACK_SIZE);
#endif
        munmap(stack, STACK_SIZE + GUARD_SIZE);
}

static char *stack_new(void)
{
        if (outside.stacks_kept)
                return outside.stacks[--outside.stacks_kept];
        char *stack = mmap(NULL, STACK_SIZE + GUARD_SIZE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED || mprotect(stack, GUARD_SIZE, PROT_NONE) < 0)
                abort(); /* as with every small allocation */
#ifdef WITH_ASAN
        /* What only a waiting one's stack points to is not leaked. */
        __lsan_register_root_region(stack + GUARD_SIZE, STACK_SIZE);
#endif
        return stack;
}

/* Where each begins. */
static void begin(void)
{
#ifdef WITH_ASAN
        __sanitizer_finish_switch_fiber(NULL, &outside.stack_bottom, &outside.stack_size);
#endif
        running->function(running->argument);
        running->ended = true;
        coroutine_leave();
        abort();
}

struct coroutine *coroutine_new(void (*function)(void *), void *argument)
{
        struct coroutine *coroutine = xcalloc(1, sizeof *coroutine);

        coroutine->function = function;
        coroutine->argument = argument;
        coroutine->stack = stack_new();
        getcontext(&coroutine->context);
        coroutine->context.uc_stack.ss_sp = coroutine->stack + GUARD_SIZE;
        coroutine->context.uc_stack.ss_size = STACK_SIZE;
        coroutine->context.uc_link = NULL;
        makecontext(&coroutine->context, begin, 0);
#ifdef WITH_TSAN
        coroutine->fiber = __tsan_create_fiber(0);
#endif
        return coroutine;
}

void coroutine_free(struct coroutine *coroutine)
{
#ifdef WITH_ASAN
        __asan_unpoison_memory_region(coroutine->stack + GUARD_SIZE, STACK_SIZE);
#endif
#ifdef WITH_TSAN
        __tsan_destroy_fiber(coroutine->fiber);
#endif
        if (outside.stacks_kept < STACKS_KEPT)
                outside.stacks[outside.stacks_kept++] = coroutine->stack;
        else
                stack_free(coroutine->stack);
        free(coroutine);
}

bool coroutine_enter(struct coroutine *coroutine)
{
        running = coroutine;
#ifdef WITH_ASAN
        __sanitizer_start_switch_fiber(&outside.fake_stack, coroutine->stack + GUARD_SIZE,
                                       STACK_SIZE);
#endif
#ifdef WITH_TSAN
        outside.fiber = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(coroutine->fiber, 0);
#endif
        swapcontext(&outside.context, &coroutine->context);
#ifdef WITH_ASAN
        __sanitizer_finish_switch_fiber(outside.fake_stack, NULL, NULL);
#endif
        running = NULL;
        return !coroutine->ended;
}

void coroutine_leave(void)
{
        struct coroutine *coroutine = running;

#ifdef WITH_ASAN
        __sanitizer_start_switch_fiber(coroutine->ended ? NULL : &coroutine->fake_stack,
                                       outside.stack_bottom, outside.stack_size);
#endif
#ifdef WITH_TSAN
        __tsan_switch_to_fiber(outside.fiber, 0);
#endif
        swapcontext(&coroutine->context, &outside.context);
#ifdef WITH_ASAN
        __sanitizer_finish_switch_fiber(coroutine->fake_stack, &outside.stack_bottom,
                                        &outside.stack_size);
#endif
}

void coroutine_fini(void)
{
        while (outside.stacks_kept)
                stack_free(outside.stacks[--outside.stacks_kept]);
}
