/* A real server over a real socket, driven by gRPC's client on this thread while the loop has one
 * of its own. */

#include <assert.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "base/buffer.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/server.h"
#include "test/unit/grpc_client.h"

#define RUNTIME      "/runtime.v1.RuntimeService/"
#define MESSAGE_MAX  (1u << 20)
#define CALLS_MAX    1100u
#define WAITING      1000u
#define STREAM_COUNT 5
#define BAD          "\xff"
#define FFFD         "\xef\xbf\xbd"

/* ---- the handlers ---- */

static struct event released; /* lets those go that cannot be interrupted; the loop's */
static bool is_released;
static atomic_uint waiting, interrupted, uninterrupted;
static atomic_llong seen_deadline;

static int handle_version(struct rpc *rpc, const void *request, void *response, struct error *err)
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

/* Waits for ever, unless it is interrupted. */
static int handle_wait(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        struct event never = {0};

        atomic_fetch_add(&waiting, 1);
        task_set_interruptible(true);
        int result = task_wait(&never, CLOCK_NEVER);
        atomic_fetch_sub(&waiting, 1);
        if (result == -ECANCELED && rpc_cancelled(rpc))
                atomic_fetch_add(&interrupted, 1);
        return result;
}

/* Goes on without its client. */
static int handle_uninterruptible(struct rpc *rpc, const void *request, void *response,
                                  struct error *err)
{
        atomic_fetch_add(&waiting, 1);
        while (!is_released)
                if (task_wait(&released, CLOCK_NEVER) < 0)
                        atomic_fetch_add(&interrupted, 1);
        atomic_fetch_sub(&waiting, 1);
        if (rpc_cancelled(rpc))
                atomic_fetch_add(&uninterrupted, 1);
        return 0;
}

static int handle_fail(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        char text[1600];

        memset(text, 0xff, sizeof text - 1);
        text[sizeof text - 1] = '\0';
        return error_set(err, ERROR_FAILED_PRECONDITION, "it is so: %s", text);
}

static int handle_fail_word(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        error_set(err, ERROR_UNAVAILABLE, "registry.example: 503");
        return error_word(err, "RegistryUnavailable");
}

static int handle_fail_number(struct rpc *rpc, const void *request, void *response,
                              struct error *err)
{
        return -ENOENT;
}

static int handle_big(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        Runtime__V1__ExecSyncResponse *output = response;

        output->stdout.len = 2 * MESSAGE_MAX;
        output->stdout.data = arena_alloc(rpc->arena, output->stdout.len);
        return 0;
}

static int handle_stream(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        Runtime__V1__ContainerEventResponse event = RUNTIME__V1__CONTAINER_EVENT_RESPONSE__INIT;

        for (int i = 0; i < STREAM_COUNT; i++) {
                event.container_id = arena_printf(rpc->arena, "%d" BAD, i);
                int result = rpc_send(rpc, &event, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

static int handle_endless_stream(struct rpc *rpc, const void *request, void *response,
                                 struct error *err)
{
        Runtime__V1__StreamContainersResponse message =
                RUNTIME__V1__STREAM_CONTAINERS_RESPONSE__INIT;
        int result;

        atomic_fetch_add(&waiting, 1);
        do {
                result = rpc_send(rpc, &message, err);
        } while (result == 0);
        atomic_fetch_sub(&waiting, 1);
        if (result == -ECANCELED)
                atomic_fetch_add(&interrupted, 1);
        return result;
}

static const struct rpc_method methods[] = {
        {.name = "Version", .handler = handle_version},
        {.name = "PodSandboxStatus", .handler = handle_wait, .interruptible = true},
        {.name = "RunPodSandbox", .handler = handle_uninterruptible},
        {.name = "StopPodSandbox", .handler = handle_fail},
        {.name = "RemovePodSandbox", .handler = handle_fail_word},
        {.name = "ContainerStatus", .handler = handle_fail_number},
        {.name = "ExecSync", .handler = handle_big},
        {.name = "GetContainerEvents",
         .handler = handle_stream,
         .interruptible = true,
         .streaming = true},
        {.name = "StreamContainers", .handler = handle_endless_stream, .streaming = true},
};

static const struct rpc_service services[] = {
        {&runtime__v1__runtime_service__descriptor, methods, sizeof methods / sizeof *methods},
        {&runtime__v1__image_service__descriptor, NULL, 0},
};

/* ---- the loop's thread ---- */

static char folder[] = "/tmp/test_server.XXXXXX";
static char *socket_path;
static pthread_t loop_thread;
static sem_t started;
static int start_result;
static struct server *server;

static void *loop_main(void *argument)
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

static void stop_task(void *argument)
{
        int64_t *grace = argument;

        server_stop(server, clock_after(*grace));
        loop_stop();
}

static void stop(void *argument)
{
        task_start("stop", stop_task, argument);
}

static void release(void *argument)
{
        is_released = true;
        event_signal(&released);
        sem_post(argument);
}

static int setup(void **state)
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

static int teardown(void **state)
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
static void assert_version_answers(void)
{
        struct client_call call;

        ask(&call, RUNTIME "Version", "\x0a\x02v1", 4);
        assert_int_equal(call.status, GRPC_STATUS_OK);
        end(&call);
}

static void wait_until(const atomic_uint *counter, unsigned value)
{
        for (int i = 0; i < 60000 && atomic_load(counter) != value; i++)
                usleep(1000);
        assert_int_equal(atomic_load(counter), value);
}

/* ---- the tests ---- */

static void test_answer(void **state)
{
        struct client_call call;

        ask(&call, RUNTIME "Version", "\x0a\x02v1", 4);
        assert_int_equal(call.status, GRPC_STATUS_OK);
        Runtime__V1__VersionResponse *reply =
                unpack_reply(&call, &runtime__v1__version_response__descriptor);
        assert_string_equal(reply->version, "you said v1");
        assert_string_equal(reply->runtime_name, "crisp" FFFD "!");
        protobuf_c_message_free_unpacked(&reply->base, NULL);
        assert_true(atomic_load(&seen_deadline) == CLOCK_NEVER);
        end(&call);

        /* The empty message is one, too. */
        ask(&call, RUNTIME "Version", "", 0);
        assert_int_equal(call.status, GRPC_STATUS_OK);
        end(&call);
}

static void test_socket(void **state)
{
        struct stat status;

        assert_int_equal(stat(socket_path, &status), 0);
        assert_true(S_ISSOCK(status.st_mode));
        assert_int_equal(status.st_mode & 07777, 0660);
}

static void test_unknown_methods(void **state)
{
        static const char *const unknown[] = {
                RUNTIME "Status",
                RUNTIME "Nonsense",
                "/runtime.v1.ImageService/PullImage",
                "/runtime.v1alpha2.RuntimeService/Version",
        };
        for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
                struct client_call call;
                ask(&call, unknown[i], "", 0);
                assert_int_equal(call.status, GRPC_STATUS_UNIMPLEMENTED);
                AUTO_FREE char *text = details(&call);
                assert_non_null(strstr(text, unknown[i]));
                end(&call);
        }
}

static void test_malformed(void **state)
{
        struct client_call call;

        ask(&call, RUNTIME "Version", "\x0a\x7fshort", 7);
        assert_int_equal(call.status, GRPC_STATUS_INVALID_ARGUMENT);
        AUTO_FREE char *text = details(&call);
        assert_non_null(strstr(text, "runtime.v1.VersionRequest"));
        end(&call);

        ask(&call, RUNTIME "Version", NULL, 0);
        assert_int_equal(call.status, GRPC_STATUS_INVALID_ARGUMENT);
        end(&call);
        assert_version_answers();
}

static void test_errors(void **state)
{
        struct client_call call;

        ask(&call, RUNTIME "StopPodSandbox", "", 0);
        assert_int_equal(call.status, GRPC_STATUS_FAILED_PRECONDITION);
        AUTO_FREE char *text = details(&call);
        assert_non_null(strstr(text, "it is so: " FFFD FFFD));
        assert_int_equal(strlen(text) % 3, strlen("it is so: ") % 3);
        assert_true(strlen(text) < 2048);
        end(&call);

        ask(&call, RUNTIME "RemovePodSandbox", "", 0);
        assert_int_equal(call.status, GRPC_STATUS_UNKNOWN);
        AUTO_FREE char *word = details(&call);
        assert_string_equal(word, "RegistryUnavailable: registry.example: 503");
        end(&call);

        ask(&call, RUNTIME "ContainerStatus", "", 0);
        assert_int_equal(call.status, GRPC_STATUS_NOT_FOUND);
        end(&call);
}

static void test_too_long(void **state)
{
        struct client_call call;
        AUTO_FREE char *big = xcalloc(1, MESSAGE_MAX + 16);

        ask(&call, RUNTIME "Version", big, MESSAGE_MAX + 16);
        assert_int_equal(call.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
        end(&call);

        ask(&call, RUNTIME "ExecSync", "", 0);
        assert_int_equal(call.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
        AUTO_FREE char *text = details(&call);
        assert_non_null(strstr(text, "ExecSync"));
        end(&call);
        assert_version_answers();
}

/* Field 1, an empty message, again and again: two bytes each, a structure each. */
static void test_blown_up(void **state)
{
        struct client_call call;
        size_t length = MESSAGE_MAX - 8;
        AUTO_FREE char *bytes = xcalloc(1, length);
        /* RunPodSandboxRequest.config = {mounts...}: config (1) is one field with labels (6) in it.
         */
        size_t at = 0;
        unsigned inner = (unsigned)(length - 5) & ~1u;
        bytes[at++] = 0x0a;
        for (unsigned left = inner; left; left >>= 7)
                bytes[at++] = (char)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        for (unsigned i = 0; i < inner; i += 2)
                bytes[at + i] = 0x32;

        ask(&call, RUNTIME "RunPodSandbox", bytes, at + inner);
        assert_int_equal(call.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
        AUTO_FREE char *text = details(&call);
        assert_non_null(strstr(text, "memory"));
        end(&call);
}

static void test_cancelled(void **state)
{
        struct client_call call;

        begin(&call, RUNTIME "PodSandboxStatus", "", 0, -1, false);
        wait_until(&waiting, 1);
        assert_int_equal(atomic_load(&interrupted), 0);
        grpc_call_cancel(call.call, NULL);
        client_next(&call);
        assert_int_equal(call.status, GRPC_STATUS_CANCELLED);
        end(&call);
        wait_until(&interrupted, 1);
        wait_until(&waiting, 0);
        assert_version_answers();
}

static void test_deadline(void **state)
{
        struct client_call call;

        begin(&call, RUNTIME "Version", "", 0, 3600 * NSEC_PER_SEC, false);
        client_next(&call);
        assert_int_equal(call.status, GRPC_STATUS_OK);
        end(&call);
        assert_true(atomic_load(&seen_deadline) > clock_after(3000 * NSEC_PER_SEC));
        assert_true(atomic_load(&seen_deadline) < clock_after(3700 * NSEC_PER_SEC));

        begin(&call, RUNTIME "PodSandboxStatus", "", 0, 100 * NSEC_PER_MSEC, false);
        client_next(&call);
        assert_int_equal(call.status, GRPC_STATUS_DEADLINE_EXCEEDED);
        end(&call);
        wait_until(&interrupted, 1);
}

static void test_goes_on_without_client(void **state)
{
        struct client_call call;
        sem_t done;

        begin(&call, RUNTIME "RunPodSandbox", "", 0, -1, false);
        wait_until(&waiting, 1);
        grpc_call_cancel(call.call, NULL);
        client_next(&call);
        end(&call);
        assert_version_answers();
        assert_int_equal(atomic_load(&waiting), 1);

        sem_init(&done, 0, 0);
        loop_post(release, &done);
        sem_wait(&done);
        sem_destroy(&done);
        wait_until(&waiting, 0);
        assert_int_equal(atomic_load(&interrupted), 0);
        wait_until(&uninterrupted, 1);
}

static void test_many_waiting(void **state)
{
        AUTO_FREE struct client_call *calls = xcalloc(WAITING, sizeof *calls);

        for (unsigned i = 0; i < WAITING; i++)
                begin(&calls[i], RUNTIME "PodSandboxStatus", "", 0, -1, false);
        wait_until(&waiting, WAITING);
        assert_version_answers();
        for (unsigned i = 0; i < WAITING; i++)
                grpc_call_cancel(calls[i].call, NULL);
        for (unsigned i = 0; i < WAITING; i++)
                client_next(NULL);
        for (unsigned i = 0; i < WAITING; i++)
                end(&calls[i]);
        wait_until(&waiting, 0);
        wait_until(&interrupted, WAITING);
}

static void test_too_many(void **state)
{
        AUTO_FREE struct client_call *calls = xcalloc(CALLS_MAX, sizeof *calls);
        struct client_call call;

        for (unsigned i = 0; i < CALLS_MAX; i++)
                begin(&calls[i], RUNTIME "PodSandboxStatus", "", 0, -1, false);
        wait_until(&waiting, CALLS_MAX);
        ask(&call, RUNTIME "Version", "", 0);
        assert_int_equal(call.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
        end(&call);
        for (unsigned i = 0; i < CALLS_MAX; i++)
                grpc_call_cancel(calls[i].call, NULL);
        for (unsigned i = 0; i < CALLS_MAX; i++)
                client_next(NULL);
        for (unsigned i = 0; i < CALLS_MAX; i++)
                end(&calls[i]);
        wait_until(&interrupted, CALLS_MAX);
        for (int i = 0; i < 60000; i++) { /* the last replies may still be on their way out */
                ask(&call, RUNTIME "Version", "", 0);
                grpc_status_code status = call.status;
                end(&call);
                if (status == GRPC_STATUS_OK)
                        return;
        }
        fail();
}

/* Asks for the next message of a stream into call->reply. */
static void next_message(struct client_call *call)
{
        grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->reply};

        grpc_byte_buffer_destroy(call->reply);
        call->reply = NULL;
        assert_int_equal(grpc_call_start_batch(call->call, &op, 1, call, NULL), GRPC_CALL_OK);
        client_next(call);
}

static void stream_status(struct client_call *call)
{
        grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                      .data.recv_status_on_client = {.trailing_metadata = &call->tail,
                                                     .status = &call->status,
                                                     .status_details = &call->details}};

        assert_int_equal(grpc_call_start_batch(call->call, &op, 1, call, NULL), GRPC_CALL_OK);
        client_next(call);
}

static void test_stream(void **state)
{
        struct client_call call;
        char expected[16];

        begin(&call, RUNTIME "GetContainerEvents", "", 0, -1, true);
        client_next(&call);
        for (int i = 0; i < STREAM_COUNT; i++) {
                next_message(&call);
                Runtime__V1__ContainerEventResponse *event =
                        unpack_reply(&call, &runtime__v1__container_event_response__descriptor);
                snprintf(expected, sizeof expected, "%d" FFFD, i);
                assert_string_equal(event->container_id, expected);
                protobuf_c_message_free_unpacked(&event->base, NULL);
        }
        next_message(&call);
        assert_null(call.reply);
        stream_status(&call);
        assert_int_equal(call.status, GRPC_STATUS_OK);
        end(&call);
}

/* A client that does not read holds up its own call alone, and its going away ends that. */
static void test_stream_cancelled(void **state)
{
        struct client_call call;

        begin(&call, RUNTIME "StreamContainers", "", 0, -1, true);
        client_next(&call);
        wait_until(&waiting, 1);
        next_message(&call);
        assert_non_null(call.reply);
        assert_version_answers();
        grpc_call_cancel(call.call, NULL);
        stream_status(&call);
        assert_int_equal(call.status, GRPC_STATUS_CANCELLED);
        end(&call);
        wait_until(&interrupted, 1);
        wait_until(&waiting, 0);
}

/* The server ends while calls wait, some that it may interrupt and some that it may not. */
static void test_stop_with_calls(void **state)
{
        struct client_call calls[3];
        static const char *const paths[3] = {RUNTIME "PodSandboxStatus", RUNTIME "RunPodSandbox",
                                             RUNTIME "StreamContainers"};

        for (int i = 0; i < 2; i++)
                begin(&calls[i], paths[i], "", 0, -1, false);
        begin(&calls[2], paths[2], "", 0, -1, true);
        wait_until(&waiting, 3);
        teardown(state);
        for (int i = 0; i < 3; i++)
                client_next(NULL);
        assert_int_not_equal(calls[0].status, GRPC_STATUS_OK);
        assert_int_not_equal(calls[1].status, GRPC_STATUS_OK);
        for (int i = 0; i < 3; i++)
                end(&calls[i]);
        assert_int_equal(atomic_load(&interrupted), 2);
        setup(state);
        client_stop();
        client_start(socket_path);
        assert_version_answers();
}

/* A client that goes away in the middle of anything, without a word. */
static void test_connection_lost(void **state)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        strcpy(address.sun_path, socket_path);
        for (int i = 0; i < 20; i++) {
                int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
                assert_int_equal(
                        write(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense", (size_t)i + 10),
                        i + 10);
                close(fd);
        }
        assert_version_answers();
}

static void test_bad_path(void **state)
{
        static const char *const paths[] = {
                "relative.sock",
                "unix://relative.sock",
                "/no/such/folder/x.sock",
                "/tmp/a-path-that-is-much-longer-than-a-unix-socket-may-have/"
                "a-path-that-is-much-longer-than-a-unix-socket-may-have/x.sock",
        };
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
                struct server_options options = {
                        .listen = paths[i], .services = services, .service_count = 1};
                struct server *none = NULL;
                struct error err = {0};

                assert_true(server_start(&options, &none, &err) < 0);
                assert_null(none);
                assert_non_null(strstr(err.message, paths[i]));
        }
}

static int setup_all(void **state)
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

static int teardown_all(void **state)
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
static int restart(void **state)
{
        client_stop();
        teardown(state);
        int result = setup(state);
        client_start(socket_path);
        return result;
}

#define server_test(test) cmocka_unit_test_setup(test, restart)

int main(void)
{
        const struct CMUnitTest tests[] = {
                server_test(test_answer),          server_test(test_socket),
                server_test(test_unknown_methods), server_test(test_malformed),
                server_test(test_errors),          server_test(test_too_long),
                server_test(test_blown_up),        server_test(test_cancelled),
                server_test(test_deadline),        server_test(test_goes_on_without_client),
                server_test(test_many_waiting),    server_test(test_too_many),
                server_test(test_stream),          server_test(test_stream_cancelled),
                server_test(test_stop_with_calls), server_test(test_connection_lost),
                server_test(test_bad_path),
        };
        return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
