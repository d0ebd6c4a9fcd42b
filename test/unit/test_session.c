/* Sessions between a client at the other end of a socket and a backend that is made up: the loop,
 * the pump and the client each have a thread, as in the daemon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/stream/queue.h"
#include "cri/stream/session.h"
#include "cri/stream/spdy_dictionary.h"

#define IDLE      (INT64_C(600) * NSEC_PER_SEC)
#define EXIT_CODE 7
#define MUCH      (3 * 1024 * 1024) /* bytes: more than all queues and sockets hold */

/* ---- the backend: a command that copies its input to its output ---- */

static struct {
        bool refuses, waits;
        bool stays;              /* the command does, when its input has ended */
        int input, output;       /* the command's ends */
        unsigned opened, closed; /* how often */
        bool interrupted;        /* the wait was */
        uint16_t rows, columns, port;
        bool sizes_slowly;        /* waits for another size before it takes one */
        bool sizes_never;         /* waits for ever */
        unsigned sizing, sizings; /* sizes that it is told of at the moment; the most at a time */
        struct event changed, sized;
} fake;

static void make_ends(int *ours, int *theirs)
{
        int ends[2];
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
                           errno);
        *ours = ends[0];
        *theirs = ends[1];
}

static int fake_open(void *session, struct stream_ends *ends, struct error *err)
{
        assert_ptr_equal(session, &fake);
        fake.opened++;
        if (fake.refuses)
                return error_set(err, ERROR_NOT_FOUND, "there is no such thing");
        int into[2], out[2];
        assert_return_code(pipe2(into, O_CLOEXEC | O_NONBLOCK), errno);
        assert_return_code(pipe2(out, O_CLOEXEC | O_NONBLOCK), errno);
        *ends = (struct stream_ends){into[1], out[0], -1};
        fake.input = into[0];
        fake.output = out[1];
        return 0;
}

static bool copy_some(int from, int to)
{
        char bytes[5000];
        if (task_wait_fd(from, EPOLLIN, CLOCK_NEVER, NULL) < 0)
                return false;
        ssize_t length = read(from, bytes, sizeof bytes);
        for (ssize_t at = 0; at < length;) {
                ssize_t written = write(to, bytes + at, (size_t)(length - at));
                if (written > 0)
                        at += written;
                else if (errno != EAGAIN || task_wait_fd(to, EPOLLOUT, CLOCK_NEVER, NULL) < 0)
                        return false;
        }
        return length > 0;
}

static int fake_wait(void *session, int *exit_code, struct error *err)
{
        struct event never = {0};
        assert_ptr_equal(session, &fake);
        bool interruptible = task_set_interruptible(true);
        if (fake.waits)
                task_wait(&fake.changed, CLOCK_NEVER);
        while (copy_some(fake.input, fake.output))
                ;
        if (fake.stays)
                task_wait(&never, CLOCK_NEVER);
        fake.interrupted = task_interrupted();
        task_set_interruptible(interruptible);
        close(fake.input);
        close(fake.output);
        *exit_code = EXIT_CODE;
        return fake.interrupted ? error_set(err, ERROR_CANCELLED, "the client is gone") : 0;
}

static void fake_resize(void *session, uint16_t rows, uint16_t columns)
{
        assert_ptr_equal(session, &fake);
        if (++fake.sizing > fake.sizings)
                __atomic_store_n(&fake.sizings, fake.sizing, __ATOMIC_SEQ_CST);
        event_signal(&fake.sized);
        if (fake.sizes_slowly)
                task_wait(&fake.sized, clock_after(100 * NSEC_PER_MSEC));
        while (fake.sizes_never && task_wait(&fake.sized, CLOCK_NEVER) == 0)
                ;
        fake.sizing--;
        fake.columns = columns;
        __atomic_store_n(&fake.rows, rows, __ATOMIC_SEQ_CST); /* the client waits for it */
        event_signal(&fake.changed);
}

/* The port echoes until its client is done. */
static void serve(void *end)
{
        AUTO_FREE int *fd = end;
        while (copy_some(*fd, *fd))
                ;
        close(*fd);
}

static int fake_connect(void *session, uint16_t port, int *fd, struct error *err)
{
        assert_ptr_equal(session, &fake);
        fake.port = port;
        if (fake.refuses)
                return error_set(err, ERROR_UNAVAILABLE, "nobody listens");
        int *theirs = xcalloc(1, sizeof *theirs);
        make_ends(fd, theirs);
        task_start("echo", serve, theirs);
        return 0;
}

static void fake_close(void *session)
{
        assert_ptr_equal(session, &fake);
        fake.closed++;
        event_signal(&fake.changed);
}

static const struct stream_backend backend = {
        .open = fake_open,
        .resize = fake_resize,
        .wait = fake_wait,
        .connect = fake_connect,
        .close = fake_close,
};

/* ---- the client, on a thread of its own ---- */

static int client;               /* its socket */
static struct queue got[8];      /* what came, by channel or stream */
static bool ended[8], was_reset; /* no more comes, by stream */
static char failure[256];        /* of the client's thread, which may not fail a test by itself */
static z_stream compressor;

static bool check(bool right, const char *what)
{
        if (!right && !*failure)
                snprintf(failure, sizeof failure, "%s", what);
        return right;
}
#define CHECK(condition) check(condition, #condition)

static bool write_all(const void *bytes, size_t length)
{
        for (const char *at = bytes; length;) {
                ssize_t sent = send(client, at, length, MSG_NOSIGNAL);
                if (sent <= 0)
                        return false;
                at += sent;
                length -= (size_t)sent;
        }
        return true;
}

static bool read_all(void *bytes, size_t length)
{
        for (char *at = bytes; length;) {
                ssize_t there = recv(client, at, length, 0);
                if (there <= 0)
                        return false;
                at += there;
                length -= (size_t)there;
        }
        return true;
}

/* A WebSocket's message, whose mask is zero. */
static bool web_send(unsigned channel, const void *bytes, size_t length)
{
        unsigned char head[15] = {0x82};
        size_t whole = length + 1, more = whole > UINT16_MAX ? 8 : whole > 125 ? 2 : 0;
        head[1] = (unsigned char)(0x80 | (more == 8 ? 127 : more == 2 ? 126 : whole));
        for (size_t i = 0; i < more; i++)
                head[2 + i] = (unsigned char)((uint64_t)whole >> (8 * (more - 1 - i)));
        head[2 + more + 4] = (unsigned char)channel;
        return write_all(head, 2 + more + 4 + 1) && write_all(bytes, length);
}

/* False at the end. */
static bool web_receive(void)
{
        unsigned char head[2], more[8] = {0};
        if (!read_all(head, 2) || (head[0] & 0x0f) == 8)
                return false;
        size_t length = head[1], bytes = length == 127 ? 8 : length == 126 ? 2 : 0;
        if (bytes) {
                if (!read_all(more, bytes))
                        return false;
                length = 0;
                for (size_t i = 0; i < bytes; i++)
                        length = length << 8 | more[i];
        }
        AUTO_FREE char *message = xcalloc(1, length + 1);
        if (!read_all(message, length))
                return false;
        queue_add(&got[(unsigned char)*message % 8], message + 1, length - 1);
        return true;
}

static void web_receive_all(void)
{
        while (web_receive())
                ;
}

static void put32(struct queue *queue, uint32_t number)
{
        number = htonl(number);
        queue_add(queue, &number, sizeof number);
}

static void spdy_open(uint32_t stream, const char *type, const char *port)
{
        unsigned char packed[1024];
        const char *const texts[] = {"streamtype", type, "port", port, "requestid", "one"};
        struct queue block = {0}, frame = {0};
        put32(&block, 3);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                put32(&block, (uint32_t)strlen(texts[i]));
                queue_add(&block, texts[i], strlen(texts[i]));
        }
        compressor.next_in = (unsigned char *)(uintptr_t)queue_front(&block);
        compressor.avail_in = (uInt)block.length;
        compressor.next_out = packed;
        compressor.avail_out = sizeof packed;
        deflate(&compressor, Z_SYNC_FLUSH);
        size_t length = sizeof packed - compressor.avail_out;
        put32(&frame, 0x80030001U);
        put32(&frame, (uint32_t)length + 10);
        put32(&frame, stream);
        put32(&frame, 0);
        queue_add(&frame, "\0", 2);
        queue_add(&frame, packed, length);
        CHECK(write_all(queue_front(&frame), frame.length));
        queue_fini(&block);
        queue_fini(&frame);
}

static void spdy_send(uint32_t stream, bool fin, const void *bytes, size_t length)
{
        uint32_t head[] = {htonl(stream), htonl((fin ? 1U << 24 : 0) | (uint32_t)length)};
        CHECK(write_all(head, sizeof head));
        CHECK(write_all(bytes, length));
}

static bool spdy_receive_one(void)
{
        uint32_t head[2];
        if (!read_all(head, sizeof head))
                return false;
        uint32_t first = ntohl(head[0]), second = ntohl(head[1]), length = second & 0xffffff;
        AUTO_FREE char *content = xcalloc(1, length + 1);
        if (!read_all(content, length))
                return false;
        if (!(first & 0x80000000U)) {
                queue_add(&got[first % 8], content, length);
                ended[first % 8] |= second >> 24 & 1;
        } else if ((first & 0xffff) == 3) {
                was_reset = true;
        }
        return true;
}

/* ---- the scene ---- */

static struct pump *pump;
static int released;

static void on_released(void *end)
{
        close(*(int *)end);
        __atomic_store_n(&released, 1, __ATOMIC_SEQ_CST);
}

struct scene {
        struct session_options options;
        void (*client)(void);
};

static int run_client(void *scene_)
{
        struct scene *scene = scene_;
        scene->client();
        close(client);
        return 0;
}

static void play(void *scene)
{
        int ours;
        int ends[2];
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), errno);
        client = ends[0];
        ours = ends[1];
        struct bridge *bridge = bridge_new(pump, &backend, &fake);
        session_start(pump, bridge, &((struct scene *)scene)->options, ours, NULL, 0, on_released,
                      &ours);
        task_offload(run_client, scene);
        while (!fake.closed)
                task_wait(&fake.changed, CLOCK_NEVER);
        while (session_count())
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        loop_stop();
}

static void run_scene(struct session_options options, void (*run)(void))
{
        struct scene scene = {options, run};
        scene.options.idle_timeout = scene.options.idle_timeout ? scene.options.idle_timeout : IDLE;
        snprintf(scene.options.name, sizeof scene.options.name, "fake");
        task_start("scene", play, &scene);
        loop_run();
        assert_string_equal(failure, "");
        assert_int_equal(fake.closed, 1);
        assert_int_equal(released, 1);
        assert_int_equal(task_count(), 0);
}

static int set_up(void **state)
{
        (void)state;
        signal(SIGPIPE, SIG_IGN); /* as the daemon does */
        memset(&fake, 0, sizeof fake);
        memset(ended, 0, sizeof ended);
        *failure = '\0';
        released = 0;
        was_reset = false;
        memset(&compressor, 0, sizeof compressor);
        deflateInit(&compressor, 9);
        deflateSetDictionary(&compressor, spdy_dictionary(), SPDY_DICTIONARY_SIZE);
        return loop_init(4, NULL) < 0 || pump_start(&pump, NULL) < 0;
}

static int tear_down(void **state)
{
        (void)state;
        pump_stop(pump);
        session_abandon_all();
        loop_fini();
        deflateEnd(&compressor);
        for (size_t i = 0; i < 8; i++)
                queue_fini(&got[i]);
        return 0;
}

#define WEB_EXEC                                                                                   \
        (struct session_options)                                                                   \
        {                                                                                          \
                .kind = STREAM_EXEC, .framing = SESSION_WEBSOCKET, .version = 5,                   \
                .want_input = true, .want_output = true                                            \
        }

static bool has(const struct queue *queue, const char *text)
{
        const char *front = queue_front(queue);
        return front && memmem(front, queue->length, text, strlen(text));
}

/* ---- scenes ---- */

static void says_hello(void)
{
        CHECK(web_send(0, "hello", 5));
        CHECK(web_send(255, "\0", 1));
        web_receive_all();
}

static void test_input_becomes_output_and_an_exit_code(void **state)
{
        (void)state;
        run_scene(WEB_EXEC, says_hello);
        assert_int_equal(got[1].length, 5);
        assert_memory_equal(queue_front(&got[1]), "hello", 5);
        assert_true(has(&got[3], "\"ExitCode\"") && has(&got[3], "\"7\""));
        assert_false(fake.interrupted);
}

static void *pour(void *argument)
{
        static char block[64 * 1024];
        (void)argument;
        for (size_t i = 0; i < MUCH; i += sizeof block) {
                memset(block, (int)(i / sizeof block), sizeof block);
                CHECK(web_send(0, block, sizeof block));
        }
        CHECK(web_send(255, "\0", 1));
        return NULL;
}

/* It reads nothing before queues are full everywhere; nothing is lost. */
static void pours_first(void)
{
        struct pollfd ready = {client, POLLOUT, 0};
        pthread_t sender;
        CHECK(pthread_create(&sender, NULL, pour, NULL) == 0);
        while (poll(&ready, 1, 50) > 0)
                usleep(50000);
        web_receive_all();
        pthread_join(sender, NULL);
}

static void test_much_both_ways(void **state)
{
        (void)state;
        run_scene(WEB_EXEC, pours_first);
        assert_int_equal(got[1].length, MUCH);
        for (size_t i = 0; i < MUCH; i += 4096)
                assert_int_equal((unsigned char)queue_front(&got[1])[i], i / (64 * 1024) % 256);
}

static void goes_at_once(void)
{
        CHECK(web_send(0, "x", 1));
        while (!got[1].length && CHECK(web_receive()))
                ;
}

static void test_a_client_that_goes_interrupts_the_wait(void **state)
{
        (void)state;
        fake.stays = true;
        run_scene(WEB_EXEC, goes_at_once);
        assert_true(fake.interrupted);
        assert_int_equal(fake.opened, 1);
}

static void test_what_cannot_be_opened_is_told(void **state)
{
        (void)state;
        fake.refuses = true;
        run_scene(WEB_EXEC, web_receive_all);
        assert_true(has(&got[3], "\"InternalError\"") && has(&got[3], "there is no such thing"));
}

static void ends_when_sized(void)
{
        while (__atomic_load_n(&fake.rows, __ATOMIC_SEQ_CST) != 43)
                poll(NULL, 0, 1);
        CHECK(web_send(255, "\0", 1));
        web_receive_all();
}

static void sends_sizes(void)
{
        CHECK(web_send(4, "{\"Width\":80,\"Hei", 16)); /* cut, and two in one */
        CHECK(web_send(4, "ght\":24}{\"Width\":132,\"Height\":43}", 33));
        ends_when_sized();
}

static void expect_sized(void (*run)(void))
{
        struct session_options options = WEB_EXEC;
        options.tty = true;
        run_scene(options, run);
        assert_int_equal(fake.rows, 43);
        assert_int_equal(fake.columns, 132);
}

static void test_sizes(void **state)
{
        (void)state;
        expect_sized(sends_sizes);
}

static void drags_the_window(void)
{
        static const char *const sizes[] = {"{\"Width\":80,\"Height\":24}",
                                            "{\"Width\":100,\"Height\":30}",
                                            "{\"Width\":132,\"Height\":43}"};
        for (size_t i = 0; i < 3; i++) {
                CHECK(web_send(4, sizes[i], strlen(sizes[i])));
                poll(NULL, 0, 20); /* not all in one piece */
        }
        ends_when_sized();
}

static void test_one_size_after_the_other(void **state)
{
        (void)state;
        fake.sizes_slowly = true;
        expect_sized(drags_the_window);
        assert_int_equal(fake.sizings, 1);
}

static void sizes_and_leaves(void)
{
        static const char size[] = "{\"Width\":132,\"Height\":43}";
        CHECK(web_send(4, size, strlen(size)));
        while (__atomic_load_n(&fake.sizings, __ATOMIC_SEQ_CST) == 0)
                poll(NULL, 0, 1);
        CHECK(web_send(255, "\0", 1));
        web_receive_all();
}

/* The scene ends when the session has. */
static void test_a_size_that_is_never_taken(void **state)
{
        (void)state;
        fake.sizes_never = true;
        expect_sized(sizes_and_leaves);
}

static void breaks_the_rules(void)
{
        CHECK(write_all("\x82\1x", 3));
        web_receive_all();
}

static void test_rubbish_ends_it(void **state)
{
        (void)state;
        fake.waits = true;
        run_scene(WEB_EXEC, breaks_the_rules);
        assert_true(fake.interrupted);
}

static void test_silence_ends_it(void **state)
{
        struct session_options options = WEB_EXEC;
        (void)state;
        options.idle_timeout = 20 * NSEC_PER_MSEC;
        fake.stays = true;
        run_scene(options, web_receive_all);
        assert_true(fake.interrupted);
}

#define FORWARD                                                                                    \
        (struct session_options)                                                                   \
        {                                                                                          \
                .kind = STREAM_PORT_FORWARD, .framing = SESSION_SPDY, .version = 1                 \
        }

static void opens_pair(void)
{
        spdy_open(1, "error", "4711");
        spdy_open(3, "data", "4711");
}

/* It is done with its half; the answer is still its own. */
static void closes_its_half(void)
{
        opens_pair();
        spdy_send(3, false, "hello ", 6);
        spdy_send(3, true, "there", 5);
        while (!(ended[1] && ended[3]) && CHECK(spdy_receive_one()))
                ;
}

static void test_a_connections_half_close(void **state)
{
        (void)state;
        run_scene(FORWARD, closes_its_half);
        assert_int_equal(fake.port, 4711);
        assert_int_equal(got[3].length, 11);
        assert_memory_equal(queue_front(&got[3]), "hello there", 11);
        assert_int_equal(got[1].length, 0);
        assert_false(was_reset);
}

static void is_refused(void)
{
        opens_pair();
        while (!(ended[1] && was_reset) && CHECK(spdy_receive_one()))
                ;
}

static void test_a_connection_that_fails(void **state)
{
        (void)state;
        fake.refuses = true;
        run_scene(FORWARD, is_refused);
        assert_true(has(&got[1], "error forwarding port 4711 to pod fake: nobody listens"));
}

static void leaves_in_the_middle(void)
{
        opens_pair();
        spdy_send(3, false, "x", 1);
        while (!got[3].length && CHECK(spdy_receive_one()))
                ;
}

static void test_a_client_that_goes_ends_its_connections(void **state)
{
        (void)state;
        run_scene(FORWARD, leaves_in_the_middle);
}

static void has_ports(void)
{
        CHECK(web_send(0, "ping", 4));
        while (got[0].length < 6 && CHECK(web_receive()))
                ;
}

static void test_channels_of_ports(void **state)
{
        (void)state;
        run_scene((struct session_options){.kind = STREAM_PORT_FORWARD,
                                           .framing = SESSION_WEBSOCKET,
                                           .version = 4,
                                           .ports = {258},
                                           .port_count = 1},
                  has_ports);
        assert_memory_equal(queue_front(&got[0]), "\2\1ping", 6);
        assert_memory_equal(queue_front(&got[1]), "\2\1", 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_input_becomes_output_and_an_exit_code),
                TEST(test_much_both_ways),
                TEST(test_a_client_that_goes_interrupts_the_wait),
                TEST(test_what_cannot_be_opened_is_told),
                TEST(test_sizes),
                TEST(test_one_size_after_the_other),
                TEST(test_a_size_that_is_never_taken),
                TEST(test_rubbish_ends_it),
                TEST(test_silence_ends_it),
                TEST(test_a_connections_half_close),
                TEST(test_a_connection_that_fails),
                TEST(test_a_client_that_goes_ends_its_connections),
                TEST(test_channels_of_ports),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
