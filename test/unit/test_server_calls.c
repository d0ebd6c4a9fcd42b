/* Calls that are under way: they wait, are many, stream, lose their client or their server. */
#include "test/unit/server_fixture.h"

#define WAITING      1000u
#define STREAM_COUNT 5

/* ---- the handlers ---- */

static struct event released; /* lets those go that cannot be interrupted; the loop's */

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

static void release(void *argument)
{
        is_released = true;
        event_signal(&released);
        sem_post(argument);
}

static void wait_until(const atomic_uint *counter, unsigned value)
{
        for (int i = 0; i < 60000 && atomic_load(counter) != value; i++)
                usleep(1000);
        assert_int_equal(atomic_load(counter), value);
}

/* ---- the tests ---- */

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

int main(void)
{
        const struct CMUnitTest tests[] = {
                server_test(test_cancelled),
                server_test(test_deadline),
                server_test(test_goes_on_without_client),
                server_test(test_many_waiting),
                server_test(test_too_many),
                server_test(test_stream),
                server_test(test_stream_cancelled),
                server_test(test_stop_with_calls),
        };
        return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
