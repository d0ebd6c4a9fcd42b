/* ttrpc: frames in pieces, calls side by side, deadlines, ends, and what strangers may send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/shim/task_v2.pb-c.h"
#include "api/ttrpc/client.h"
#include "api/ttrpc/frame.h"
#include "api/ttrpc/server.h"
#include "api/ttrpc/ttrpc.pb-c.h"
#include "base/memory.h"
#include "base/task.h"

#define SERVICE "containerd.task.v2.Task"
#define LONG    (INT64_C(20000000000))

static int setup(void **state)
{
        (void)state;
        return loop_init(4, NULL);
}

static int teardown(void **state)
{
        (void)state;
        loop_fini();
        return 0;
}

/* ---- frames ---- */

static void test_a_frame_in_pieces(void **state)
{
        struct ttrpc_reader reader = {0};
        struct ttrpc_frame frame;
        const uint8_t bytes[] = {0,   0, 0, 3, 0, 0, 1, 5, 2, 0, 'a', 'b',
                                 'c', 0, 0, 0, 0, 0, 0, 0, 7, 1, 9};
        unsigned found = 0;
        (void)state;
        for (size_t i = 0; i < sizeof bytes; i++) {
                ttrpc_reader_add(&reader, bytes + i, 1);
                int result = ttrpc_reader_next(&reader, &frame);
                assert_int_equal(result, i == 12 || i == 22);
                if (i == 12) {
                        assert_int_equal(frame.length, 3);
                        assert_int_equal(frame.stream, 0x105);
                        assert_int_equal(frame.type, TTRPC_RESPONSE);
                        assert_memory_equal(frame.payload, "abc", 3);
                }
                found += result;
        }
        assert_int_equal(found, 2);
        assert_int_equal(frame.stream, 7);
        assert_int_equal(frame.flags, 9);
        assert_non_null(frame.payload);
        ttrpc_reader_fini(&reader);
}

static void test_a_frame_that_is_too_long_is_dropped(void **state)
{
        struct ttrpc_reader reader = {0};
        struct ttrpc_frame frame = {
                .length = TTRPC_PAYLOAD_MAX + 1, .stream = 3, .type = TTRPC_REQUEST};
        uint8_t header[TTRPC_HEADER_LENGTH];
        static const uint8_t zeroes[65536];
        (void)state;
        ttrpc_frame_pack(&frame, header);
        ttrpc_reader_add(&reader, header, sizeof header);
        assert_int_equal(ttrpc_reader_next(&reader, &frame), 1);
        assert_null(frame.payload);
        assert_int_equal(frame.stream, 3);
        for (size_t left = TTRPC_PAYLOAD_MAX + 1; left;) {
                size_t part = left < sizeof zeroes ? left : sizeof zeroes;
                ttrpc_reader_add(&reader, zeroes, part);
                assert_int_equal(ttrpc_reader_next(&reader, &frame), 0);
                assert_in_range(reader.bytes.capacity, 0, sizeof zeroes);
                left -= part;
        }
        frame = (struct ttrpc_frame){.length = 1, .stream = 5, .type = TTRPC_REQUEST};
        ttrpc_frame_pack(&frame, header);
        ttrpc_reader_add(&reader, header, sizeof header);
        ttrpc_reader_add(&reader, "x", 1);
        assert_int_equal(ttrpc_reader_next(&reader, &frame), 1);
        assert_int_equal(frame.stream, 5);
        assert_int_equal(*frame.payload, 'x');
        ttrpc_reader_fini(&reader);
}

static void test_what_is_no_ttrpc(void **state)
{
        struct ttrpc_reader reader = {0};
        struct ttrpc_frame frame;
        (void)state;
        ttrpc_reader_add(&reader, "HTTP/1.1 400 Bad Request", 24);
        assert_int_equal(ttrpc_reader_next(&reader, &frame), -EPROTO);
        ttrpc_reader_fini(&reader);
}

/* ---- client and server ---- */

struct world {
        struct ttrpc_server *server;
        struct ttrpc_client *client;
        unsigned closed;
        unsigned answers;
        struct event gate;
        bool open;
        int other; /* where the test itself is the server */
};

static int answer_state(void *argument, const ProtobufCMessage *message, struct ttrpc_reply *reply,
                        struct error *err)
{
        const Containerd__Task__V2__StateRequest *request = (const void *)message;
        Containerd__Task__V2__StateResponse response = CONTAINERD__TASK__V2__STATE_RESPONSE__INIT;
        (void)argument;
        if (strcmp(request->id, "nosuch") == 0)
                return error_set(err, ERROR_NOT_FOUND, "container %s: not here", request->id);
        response.id = request->id;
        response.pid = 4711;
        ttrpc_reply_set(reply, &response.base);
        return 0;
}

static int answer_wait(void *argument, const ProtobufCMessage *message, struct ttrpc_reply *reply,
                       struct error *err)
{
        struct world *world = argument;
        (void)message;
        (void)reply;
        while (!world->open) {
                int result = task_wait(&world->gate, clock_after(LONG));
                if (result < 0)
                        return error_errno(err, result, "wait");
        }
        world->answers++;
        return 0;
}

static const struct ttrpc_method methods[] = {
        {SERVICE, "State", &containerd__task__v2__state_request__descriptor, answer_state},
        {SERVICE, "Wait", &containerd__task__v2__wait_request__descriptor, answer_wait},
        {0},
};

static void on_closed(void *argument)
{
        ((struct world *)argument)->closed++;
}

static void make_world(struct world *world)
{
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
                         0);
        world->server = ttrpc_server_new(methods, world);
        assert_int_equal(ttrpc_server_add(world->server, ends[1], NULL), 0);
        assert_int_equal(ttrpc_client_new(ends[0], on_closed, world, &world->client, NULL), 0);
}

static void end_world(struct world *world)
{
        ttrpc_client_free(world->client);
        ttrpc_server_free(world->server);
}

static int ask_state(struct ttrpc_client *client, const char *id, uint32_t *pid, struct error *err)
{
        Containerd__Task__V2__StateRequest request = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
        ProtobufCMessage *answer = NULL;
        request.id = (char *)id;
        int result = ttrpc_call(client, SERVICE, "State", &request.base,
                                &containerd__task__v2__state_response__descriptor,
                                clock_after(LONG), &answer, err);
        if (result == 0) {
                *pid = ((Containerd__Task__V2__StateResponse *)answer)->pid;
                protobuf_c_message_free_unpacked(answer, NULL);
        }
        return result;
}

static int ask_wait(struct ttrpc_client *client, int64_t deadline, struct error *err)
{
        Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
        request.id = "x";
        return ttrpc_call(client, SERVICE, "Wait", &request.base, NULL, deadline, NULL, err);
}

static void run(task_function *function, struct world *world)
{
        task_start("test", function, world);
        loop_run();
}

static void calls(void *argument)
{
        struct world *world = argument;
        struct error err;
        uint32_t pid = 0;
        make_world(world);
        assert_int_equal(ask_state(world->client, "here", &pid, &err), 0);
        assert_int_equal(pid, 4711);
        assert_true(ask_state(world->client, "nosuch", &pid, &err) < 0);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        assert_string_equal(err.message, "container nosuch: not here");
        Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
        assert_true(ttrpc_call(world->client, SERVICE, "Fly", &request.base, NULL,
                               clock_after(LONG), NULL, &err) < 0);
        assert_int_equal(err.code, ERROR_UNIMPLEMENTED);
        end_world(world);
        loop_stop();
}

static void test_calls_and_errors(void **state)
{
        struct world world = {0};
        (void)state;
        run(calls, &world);
}

static struct world *shared;
static unsigned waiters;

static void waits(void *argument)
{
        struct error err;
        (void)argument;
        assert_int_equal(ask_wait(shared->client, clock_after(LONG), &err), 0);
        waiters--;
        event_signal(&shared->gate);
}

/* More than the server answers at a time: those that come later are answered too. */
static void many(void *argument)
{
        struct world *world = argument;
        uint32_t pid = 0;
        make_world(world);
        shared = world;
        waiters = 3 * TTRPC_SERVED_MAX;
        for (unsigned i = 0; i < 3 * TTRPC_SERVED_MAX; i++)
                task_start("waits", waits, NULL);
        assert_int_equal(task_sleep_until(clock_after(20 * NSEC_PER_MSEC)), 0);
        assert_int_equal(world->answers, 0);
        world->open = true;
        event_signal(&world->gate);
        while (waiters)
                assert_int_equal(task_wait(&world->gate, clock_after(LONG)), 0);
        assert_int_equal(world->answers, 3 * TTRPC_SERVED_MAX);
        assert_int_equal(ask_state(world->client, "here", &pid, NULL), 0);
        end_world(world);
        loop_stop();
}

static void test_many_calls_at_a_time(void **state)
{
        struct world world = {0};
        (void)state;
        run(many, &world);
}

static void late(void *argument)
{
        struct world *world = argument;
        struct error err;
        uint32_t pid = 0;
        make_world(world);
        assert_int_equal(ask_wait(world->client, clock_after(10 * NSEC_PER_MSEC), &err),
                         -ETIMEDOUT);
        assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
        /* Its late answer is nobody's, and the connection goes on. */
        world->open = true;
        event_signal(&world->gate);
        assert_int_equal(ask_state(world->client, "here", &pid, NULL), 0);
        assert_int_equal(world->answers, 1);
        assert_true(ask_wait(world->client, clock_monotonic() - 1, &err) < 0);
        assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
        end_world(world);
        loop_stop();
}

static void test_a_deadline(void **state)
{
        struct world world = {0};
        (void)state;
        run(late, &world);
}

static void server_goes(void *argument)
{
        struct world *world = argument;
        ttrpc_server_free(world->server);
        world->server = NULL;
}

static void dies(void *argument)
{
        struct world *world = argument;
        struct error err;
        make_world(world);
        task_start("server goes", server_goes, world);
        assert_true(ask_wait(world->client, clock_after(LONG), &err) < 0);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
        assert_int_equal(world->closed, 1);
        assert_true(ttrpc_client_has_ended(world->client));
        assert_true(ask_wait(world->client, clock_after(LONG), &err) < 0);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
        /* The call that was being answered ends as well, for nobody. */
        world->open = true;
        event_signal(&world->gate);
        task_sleep_until(clock_after(NSEC_PER_MSEC));
        end_world(world);
        loop_stop();
}

static void test_the_other_side_dies(void **state)
{
        struct world world = {0};
        (void)state;
        run(dies, &world);
}

static struct {
        unsigned answers;
        enum error_code code; /* 0 for an answer */
        struct event came;
} heard;

static void hear(void *argument, const struct error *why)
{
        assert_ptr_equal(argument, &heard);
        heard.answers++;
        heard.code = why ? why->code : 0;
        event_signal(&heard.came);
}

static int ask_later(struct world *world, const char *method, struct error *err)
{
        Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
        request.id = "x";
        return ttrpc_ask(world->client, SERVICE, method, &request.base, hear, &heard, err);
}

static void asks_later(void *argument)
{
        struct world *world = argument;
        struct error err;
        uint32_t pid = 0;
        make_world(world);
        assert_int_equal(ask_later(world, "Wait", &err), 0);
        assert_int_equal(ask_later(world, "Fly", &err), 0);
        while (heard.answers < 1)
                assert_int_equal(task_wait(&heard.came, clock_after(LONG)), 0);
        assert_int_equal(heard.code, ERROR_UNIMPLEMENTED);
        assert_int_equal(ask_state(world->client, "here", &pid, NULL), 0);
        world->open = true;
        event_signal(&world->gate);
        while (heard.answers < 2)
                assert_int_equal(task_wait(&heard.came, clock_after(LONG)), 0);
        assert_int_equal(heard.code, 0);
        /* Who ends before there is an answer is told of by on_closed alone. */
        world->open = false;
        assert_int_equal(ask_later(world, "Wait", &err), 0);
        assert_int_equal(ask_state(world->client, "here", &pid, NULL), 0);
        server_goes(world);
        while (!world->closed)
                assert_int_equal(task_sleep_until(clock_after(NSEC_PER_MSEC)), 0);
        assert_true(ask_later(world, "Wait", &err) < 0);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
        world->open = true;
        event_signal(&world->gate);
        task_sleep_until(clock_after(NSEC_PER_MSEC));
        end_world(world);
        make_world(world);
        assert_int_equal(ask_later(world, "Wait", &err), 0);
        end_world(world);
        assert_int_equal(heard.answers, 2);
        loop_stop();
}

static void test_an_answer_that_nobody_waits_for(void **state)
{
        struct world world = {0};
        (void)state;
        run(asks_later, &world);
}

/* ---- a hostile server ---- */

static void make_half(struct world *world)
{
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
                         0);
        assert_int_equal(ttrpc_client_new(ends[0], on_closed, world, &world->client, NULL), 0);
        world->other = ends[1];
}

static void answers_nonsense(void *argument)
{
        struct world *world = argument;
        const uint8_t nobodys[] = {0, 0, 0, 0, 0, 0, 0, 99, 2, 0};
        const uint8_t unreadable[] = {0, 0, 0, 2, 0, 0, 0, 1, 2, 0, 0xff, 0xff};
        assert_int_equal(write(world->other, nobodys, sizeof nobodys), sizeof nobodys);
        assert_int_equal(write(world->other, unreadable, sizeof unreadable), sizeof unreadable);
}

static void answers_no_ttrpc(void *argument)
{
        struct world *world = argument;
        assert_int_equal(write(world->other, "HTTP/1.1 400 Bad", 16), 16);
}

static void nonsense(void *argument)
{
        struct world *world = argument;
        struct error err;
        make_half(world);
        task_start("answers", answers_nonsense, world);
        assert_true(ask_wait(world->client, clock_after(LONG), &err) < 0);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
        assert_int_equal(world->closed, 0);
        task_start("answers", answers_no_ttrpc, world);
        assert_true(ask_wait(world->client, clock_after(LONG), &err) < 0);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
        assert_int_equal(world->closed, 1);
        close(world->other);
        end_world(world);
        loop_stop();
}

static void test_answers_that_are_none(void **state)
{
        struct world world = {0};
        (void)state;
        run(nonsense, &world);
}

/* A server that does not read keeps a bound of memory, and its callers get their deadlines. */
static void deaf(void *argument)
{
        struct world *world = argument;
        Containerd__Task__V2__StateRequest request = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
        struct error err;
        unsigned sent = 0;
        char *id = xcalloc(1, 1024 * 1024);
        make_half(world);
        memset(id, 'a', 1024 * 1024 - 1);
        request.id = id;
        do {
                int64_t deadline = clock_after(NSEC_PER_MSEC);
                assert_true(ttrpc_call(world->client, SERVICE, "State", &request.base, NULL,
                                       deadline, NULL, &err) < 0);
                sent++;
        } while (err.code == ERROR_DEADLINE_EXCEEDED && sent < 100);
        assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
        free(id);
        close(world->other);
        end_world(world);
        loop_stop();
}

static void test_a_server_that_does_not_read(void **state)
{
        struct world world = {0};
        (void)state;
        run(deaf, &world);
}

/* ---- addresses ---- */

static void dials(void *argument)
{
        struct world *world = argument;
        char folder[] = "/tmp/ttrpc.XXXXXX", path[64], address[128];
        struct error err;
        uint32_t pid = 0;
        int fd = -1;
        assert_non_null(mkdtemp(folder));
        snprintf(path, sizeof path, "%s/socket", folder);
        snprintf(address, sizeof address, "unix://%s", path);
        assert_int_equal(ttrpc_dial(address, clock_after(LONG), &fd, &err), -ENOENT);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        world->server = ttrpc_server_new(methods, world);
        assert_int_equal(ttrpc_server_listen(world->server, path, &err), 0);
        assert_int_equal(ttrpc_dial(address, clock_after(LONG), &fd, &err), 0);
        assert_int_equal(ttrpc_client_new(fd, NULL, NULL, &world->client, &err), 0);
        assert_int_equal(ask_state(world->client, "here", &pid, &err), 0);
        end_world(world);
        assert_int_equal(access(path, F_OK), -1);
        assert_true(ttrpc_dial("vsock://3:1024", clock_after(LONG), &fd, &err) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_true(ttrpc_dial("@nobody.listens.here", clock_after(LONG), &fd, &err) < 0);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        memset(address, 'a', sizeof address - 1);
        address[0] = '/';
        address[sizeof address - 1] = '\0';
        assert_true(ttrpc_dial(address, clock_after(LONG), &fd, &err) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        rmdir(folder);
        loop_stop();
}

static void test_addresses(void **state)
{
        struct world world = {0};
        (void)state;
        run(dials, &world);
}

static void test_a_request_for_another_to_send(void **state)
{
        Containerd__Task__V2__WaitRequest wait = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        struct ttrpc_frame frame;
        (void)state;
        wait.id = "abc";
        ttrpc_request_frame(1, SERVICE, "Wait", &wait.base, 5, &bytes);
        ttrpc_frame_unpack((const uint8_t *)bytes.data, &frame);
        assert_int_equal(frame.length, bytes.length - TTRPC_HEADER_LENGTH);
        assert_int_equal(frame.stream, 1);
        Ttrpc__Request *request = ttrpc__request__unpack(
                NULL, frame.length, (const uint8_t *)bytes.data + TTRPC_HEADER_LENGTH);
        assert_non_null(request);
        assert_string_equal(request->service, SERVICE);
        assert_string_equal(request->method, "Wait");
        assert_int_equal(request->timeout_nano, 5);
        ttrpc__request__free_unpacked(request, NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_frame_in_pieces),
                cmocka_unit_test(test_a_frame_that_is_too_long_is_dropped),
                cmocka_unit_test(test_what_is_no_ttrpc),
                cmocka_unit_test(test_a_request_for_another_to_send),
                cmocka_unit_test_setup_teardown(test_calls_and_errors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many_calls_at_a_time, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_deadline, setup, teardown),
                cmocka_unit_test_setup_teardown(test_the_other_side_dies, setup, teardown),
                cmocka_unit_test_setup_teardown(test_an_answer_that_nobody_waits_for, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_answers_that_are_none, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_server_that_does_not_read, setup, teardown),
                cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
