/* A real server over a real socket, driven by gRPC's client on this thread while the loop has one
 * of its own. */
#ifndef CRISP_TEST_SERVER_FIXTURE_H
#define CRISP_TEST_SERVER_FIXTURE_H

#include <assert.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/server.h"
#include "test/unit/grpc_client.h"

#define RUNTIME     "/runtime.v1.RuntimeService/"
#define MESSAGE_MAX (1u << 20)
#define CALLS_MAX   1100u
#define BAD         "\xff"
#define FFFD        "\xef\xbf\xbd"

/* What is served: the program defines it. */
static const struct rpc_service services[2];

/* ---- what the handlers tell, and one that all have ---- */

static bool is_released;
static atomic_uint waiting, interrupted, uninterrupted;
static atomic_llong seen_deadline;

static inline int handle_version(struct rpc *rpc, const void *request, void *response,
                                 struct error *err)
{
        const Runtime__V1__VersionRequest *asked = request;
        Runtime__V1__VersionResponse *version = response;

        /* cmocka's assertions jump, and cannot from this thread. */
        assert(strcmp(rpc->method, "Version") == 0 && *rpc->id);
        atomic_store(&seen_deadline, rpc->deadline);
        version->version = arena_printf(rpc->arena, "you said %s", asked->version);
        version->runtime_name = (char *)"crisp" BAD "!";
        return 0;
}

/* ---- the loop's thread ---- */

static char folder[] = "/tmp/test_server.XXXXXX";
static char *socket_path;
static pthread_t loop_thread;
static sem_t started;
static int start_result;
static struct server *server;

static inline void *loop_main(void *argument)
{
        struct server_options options = {
                .listen = socket_path,
                .message_max = MESSAGE_MAX,
                .calls_max = CALLS_MAX,
                .services = services,
                .service_count = sizeof services / sizeof *services,
        };
        struct error err;

        start_result = loop_init(2, &err);
        if (start_result == 0)
                start_result = server_start(&options, &server, &err);
        sem_post(&started);
        if (start_result == 0)
                loop_run();
        server_free(server);
        loop_fini();
        return NULL;
}

static inline void stop_task(void *argument)
{
        int64_t *grace = argument;

        server_stop(server, clock_after(*grace));
        loop_stop();
}

static inline void stop(void *argument)
{
        task_start("stop", stop_task, argument);
}

static inline int setup(void **state)
{
        static atomic_uint *const counters[] = {&waiting, &interrupted, &uninterrupted};

        for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
                atomic_store(counters[i], 0);
        is_released = false;
        server = NULL;
        sem_init(&started, 0, 0);
        pthread_create(&loop_thread, NULL, loop_main, NULL);
        sem_wait(&started);
        return start_result;
}

static inline int teardown(void **state)
{
        int64_t grace = 100 * NSEC_PER_MSEC;

        loop_post(stop, &grace);
        pthread_join(loop_thread, NULL);
        sem_destroy(&started);
        assert_int_equal(access(socket_path, F_OK), -1);
        return 0;
}

/* ---- the client ---- */

/* Version answers, whatever else goes on. */
static inline void assert_version_answers(void)
{
        struct client_call call;

        ask(&call, RUNTIME "Version", "\x0a\x02v1", 4);
        assert_int_equal(call.status, GRPC_STATUS_OK);
        end(&call);
}

/* ---- all of a program's tests ---- */

static inline int setup_all(void **state)
{
        grpc_init();
        log_set_level(LOG_LEVEL_ERROR);
        if (!mkdtemp(folder))
                return -1;
        socket_path = xprintf("%s/crisp.sock", folder);
        if (setup(state) < 0)
                return -1;
        client_start(socket_path);
        return 0;
}

static inline int teardown_all(void **state)
{
        client_stop();
        teardown(state);
        rmdir(folder);
        free(socket_path);
        grpc_shutdown_blocking();
        return 0;
}

/* A new server, so that nothing of one test is counted in the next, and a new client: the old one
 * may not have noticed yet that its connection is gone, and would send the next call there. */
static inline int restart(void **state)
{
        client_stop();
        teardown(state);
        int result = setup(state);
        client_start(socket_path);
        return result;
}

#define server_test(test) cmocka_unit_test_setup(test, restart)

#endif
