/* SPDY frames by hand: the few that a client of Kubernetes sends, and those that nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "cri/stream/queue.h"
#include "cri/stream/spdy.h"
#include "cri/stream/spdy_dictionary.h"

static struct spdy *spdy;
static struct queue sent;   /* by us to the peer */
static struct queue told;   /* events in words */
static z_stream compressor; /* the peer's */
static bool refuses;

static void note(const char *text)
{
        queue_add(&told, text, strlen(text));
}

static bool on_opened(void *argument, uint32_t stream, const struct spdy_header *headers,
                      size_t count)
{
        (void)argument;
        AUTO_FREE char *text = xprintf("open %u", stream);
        note(text);
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *pair = xprintf(" %s=%s", headers[i].name, headers[i].value);
                note(pair);
        }
        note(";");
        return !refuses;
}

static void on_data(void *argument, uint32_t stream, const void *bytes, size_t length)
{
        (void)argument;
        AUTO_FREE char *text = xprintf("data %u %.*s;", stream, (int)length, (const char *)bytes);
        note(text);
}

static void on_finished(void *argument, uint32_t stream, bool reset)
{
        (void)argument;
        AUTO_FREE char *text = xprintf("%s %u;", reset ? "reset" : "end", stream);
        note(text);
}

static void on_output(void *argument, const void *bytes, size_t length)
{
        (void)argument;
        queue_add(&sent, bytes, length);
}

static int set_up(void **state)
{
        static const struct spdy_events events = {on_opened, on_data, on_finished, on_output};
        (void)state;
        spdy = spdy_new(&events, NULL);
        memset(&compressor, 0, sizeof compressor);
        deflateInit(&compressor, 9);
        deflateSetDictionary(&compressor, spdy_dictionary(), SPDY_DICTIONARY_SIZE);
        refuses = false;
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        spdy_free(spdy);
        deflateEnd(&compressor);
        queue_fini(&sent);
        queue_fini(&told);
        return 0;
}

static void put32(struct queue *queue, uint32_t number)
{
        number = htonl(number);
        queue_add(queue, &number, sizeof number);
}

static int give(const struct queue *queue, size_t step)
{
        int result = 0;
        for (size_t at = 0; at < queue->length && result == 0; at += step)
                result = spdy_receive(spdy, queue_front(queue) + at,
                                      queue->length - at < step ? queue->length - at : step, NULL);
        return result;
}

static int give_control(unsigned type, unsigned flags, const void *content, size_t length)
{
        struct queue frame = {0};
        put32(&frame, 0x80030000U | type);
        put32(&frame, flags << 24 | (uint32_t)length);
        queue_add(&frame, content, length);
        int result = give(&frame, frame.length);
        queue_fini(&frame);
        return result;
}

static int give_pair(unsigned type, uint32_t first, uint32_t second)
{
        uint32_t pair[] = {htonl(first), htonl(second)};
        return give_control(type, 0, pair, sizeof pair);
}

static void add_text(struct queue *block, const char *text)
{
        put32(block, (uint32_t)strlen(text));
        queue_add(block, text, strlen(text));
}

/* The frame that opens a stream with these headers (name, value, ..., null). */
static void add_open(struct queue *frames, uint32_t stream, unsigned flags,
                     const char *const *headers)
{
        static unsigned char packed[65536];
        struct queue block = {0};
        size_t count = 0;
        while (headers[count])
                count++;
        put32(&block, (uint32_t)count / 2);
        for (size_t i = 0; i < count; i++)
                add_text(&block, headers[i]);
        compressor.next_in = (unsigned char *)(uintptr_t)queue_front(&block);
        compressor.avail_in = (uInt)block.length;
        compressor.next_out = packed;
        compressor.avail_out = sizeof packed;
        deflate(&compressor, Z_SYNC_FLUSH);
        size_t length = sizeof packed - compressor.avail_out;
        put32(frames, 0x80030001U);
        put32(frames, flags << 24 | (uint32_t)(length + 10));
        put32(frames, stream);
        put32(frames, 0);
        queue_add(frames, "\0\0", 2);
        queue_add(frames, packed, length);
        queue_fini(&block);
}

static int give_open(uint32_t stream, unsigned flags, const char *const *headers)
{
        struct queue frame = {0};
        add_open(&frame, stream, flags, headers);
        int result = give(&frame, frame.length);
        queue_fini(&frame);
        return result;
}

static int give_data(uint32_t stream, unsigned flags, const char *text)
{
        struct queue frame = {0};
        put32(&frame, stream);
        put32(&frame, flags << 24 | (uint32_t)strlen(text));
        queue_add(&frame, text, strlen(text));
        int result = give(&frame, frame.length);
        queue_fini(&frame);
        return result;
}

static void expect(const char *text)
{
        queue_add(&told, "", 1);
        assert_string_equal(queue_front(&told), text);
        queue_drop(&told, told.length);
}

/* The next frame that we sent: its first word and content length; the content is dropped. */
static uint32_t next_frame(uint32_t *length, uint32_t *word)
{
        uint32_t head[2] = {0};
        assert_true(sent.length >= 8);
        memcpy(head, queue_front(&sent), sizeof head);
        *length = ntohl(head[1]);
        uint32_t size = *length & 0xffffff;
        assert_true(sent.length >= 8 + size);
        if (word && size >= 4) {
                memcpy(word, queue_front(&sent) + 8, 4);
                *word = ntohl(*word);
        }
        queue_drop(&sent, 8 + size);
        return ntohl(head[0]);
}

static const char *const ERROR_STREAM[] = {"streamType", "error", NULL};
static const char *const OUT_STREAM[] = {"streamType", "stdout", "Port", "80", NULL};

static void test_streams_open_talk_and_end(void **state)
{
        uint32_t length = 0, word = 0;
        (void)state;
        assert_int_equal(give_open(1, 0, ERROR_STREAM), 0);
        assert_int_equal(give_open(3, 0, OUT_STREAM), 0); /* from the same compression */
        expect("open 1 streamtype=error;open 3 streamtype=stdout port=80;");
        assert_int_equal(next_frame(&length, &word), 0x80030002); /* SYN_REPLY */
        assert_int_equal(word, 1);
        assert_int_equal(next_frame(&length, &word), 0x80030002);
        assert_int_equal(give_data(3, 0, "hello"), 0);
        assert_int_equal(give_data(3, 1, "bye"), 0);
        assert_int_equal(give_data(3, 0, "too late"), 0);
        expect("data 3 hello;data 3 bye;end 3;");
        spdy_send(spdy, 3, "abc", 3);
        assert_int_equal(next_frame(&length, NULL), 3);
        assert_int_equal(length, 3);
        spdy_finish(spdy, 3);
        assert_int_equal(next_frame(&length, NULL), 3);
        assert_int_equal(length, 1U << 24);
        spdy_send(spdy, 3, "abc", 3); /* it is gone */
        spdy_reset(spdy, 3, SPDY_CANCEL);
        assert_int_equal(sent.length, 0);
        assert_int_equal(give_pair(3, 1, 5), 0);
        expect("reset 1;");
}

static void test_any_cut_of_the_bytes_means_the_same(void **state)
{
        struct queue frames = {0};
        (void)state;
        add_open(&frames, 1, 0, OUT_STREAM);
        put32(&frames, 1);
        put32(&frames, 1U << 24 | 2);
        queue_add(&frames, "ok", 2);
        assert_int_equal(give(&frames, 1), 0);
        queue_fini(&frames);
        expect("open 1 streamtype=stdout port=80;data 1 o;data 1 k;end 1;");
}

static void test_streams_that_are_refused(void **state)
{
        uint32_t length = 0, word = 0;
        (void)state;
        assert_int_equal(give_open(2, 0, OUT_STREAM), 0); /* even: ours */
        assert_int_equal(next_frame(&length, &word), 0x80030003);
        assert_int_equal(word, 2);
        assert_int_equal(give_open(5, 0, OUT_STREAM), 0);
        next_frame(&length, &word);
        assert_int_equal(give_open(5, 0, OUT_STREAM), 0); /* again */
        assert_int_equal(next_frame(&length, &word), 0x80030003);
        assert_int_equal(give_open(3, 0, OUT_STREAM), 0); /* backwards */
        assert_int_equal(next_frame(&length, &word), 0x80030003);
        refuses = true;
        assert_int_equal(give_open(7, 0, OUT_STREAM), 0);
        assert_int_equal(next_frame(&length, &word), 0x80030002);
        assert_int_equal(next_frame(&length, &word), 0x80030003);
        assert_int_equal(give_data(7, 0, "nobody"), 0);
        expect("open 5 streamtype=stdout port=80;open 7 streamtype=stdout port=80;");
}

static void test_streams_have_a_bound(void **state)
{
        uint32_t length = 0, word = 0;
        (void)state;
        for (uint32_t i = 0; i < SPDY_STREAMS_MAX; i++)
                assert_int_equal(give_open(2 * i + 1, 0, ERROR_STREAM), 0);
        queue_drop(&sent, sent.length);
        assert_int_equal(give_open(2 * SPDY_STREAMS_MAX + 1, 0, ERROR_STREAM), 0);
        assert_int_equal(next_frame(&length, &word), 0x80030003);
        assert_int_equal(word, 2 * SPDY_STREAMS_MAX + 1);
}

static void test_headers_have_bounds(void **state)
{
        static char much[SPDY_HEADERS_SIZE_MAX];
        const char *headers[] = {"a", much, NULL};
        (void)state;
        memset(much, 'x', sizeof much - 1);
        assert_true(give_open(1, 0, headers) < 0);
        tear_down(state);
        set_up(state);
        const char *many[2 * SPDY_HEADERS_MAX + 3] = {NULL};
        for (size_t i = 0; i < 2 * SPDY_HEADERS_MAX + 2; i++)
                many[i] = "h";
        assert_true(give_open(1, 0, many) < 0);
        expect("");
}

static void test_what_is_no_spdy(void **state)
{
        static const struct {
                unsigned type;
                size_t length;
        } wrong[] = {{1, 9}, {2, 3}, {3, 7}, {4, 3}, {4, 5}, {6, 3}, {9, 7}, {8, 1}};
        static const char zeroes[16];
        (void)state;
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                assert_true(give_control(wrong[i].type, 0, zeroes, wrong[i].length) < 0);
        assert_true(spdy_receive(spdy, "\x80\x02\0\1\0\0\0\0", 8, NULL) < 0);
        tear_down(state);
        set_up(state);
        assert_true(spdy_receive(spdy, "\x80\x03\0\1\0\xff\xff\xff", 8, NULL) < 0);
        tear_down(state);
        set_up(state);
        assert_true(give_control(1, 0, "\0\0\0\1\0\0\0\0\0\0rubbish", 17) < 0);
        tear_down(state);
        set_up(state);
        assert_int_equal(give_control(99, 0, "?", 1), 0); /* unknown ones are passed over */
}

static void test_windows_count_once_the_peer_keeps_them(void **state)
{
        static char much[100000];
        (void)state;
        assert_int_equal(give_open(1, 0, OUT_STREAM), 0);
        assert_true(spdy_room(spdy, 1) == SIZE_MAX);
        assert_int_equal(spdy_room(spdy, 3), 0);
        const uint32_t settings[] = {htonl(1), htonl(7), htonl(1000)};
        assert_int_equal(give_control(4, 0, settings, sizeof settings), 0);
        assert_int_equal(spdy_room(spdy, 1), 1000);
        spdy_send(spdy, 1, much, 1000);
        assert_int_equal(spdy_room(spdy, 1), 0);
        assert_int_equal(give_pair(9, 1, 100000), 0);
        assert_int_equal(spdy_room(spdy, 1), 65536 - 1000); /* the session's */
        assert_int_equal(give_pair(9, 0, 200000), 0);
        assert_int_equal(spdy_room(spdy, 1), 100000);
        assert_true(give_pair(9, 0, 0x7fffffff) < 0);
}

static void test_what_is_taken_in_is_given_back(void **state)
{
        char text[20001];
        uint32_t length = 0, word = 0;
        (void)state;
        memset(text, 'x', 20000);
        text[20000] = '\0';
        assert_int_equal(give_open(1, 0, OUT_STREAM), 0);
        next_frame(&length, &word);
        assert_int_equal(give_data(1, 0, text), 0);
        assert_int_equal(sent.length, 0);
        assert_int_equal(give_data(1, 0, text), 0);
        assert_int_equal(next_frame(&length, &word), 0x80030009);
        assert_int_equal(word, 0);
        assert_int_equal(next_frame(&length, &word), 0x80030009);
        assert_int_equal(word, 1);
        assert_int_equal(sent.length, 0);
}

static void test_pings(void **state)
{
        uint32_t length = 0, word = 0;
        (void)state;
        assert_int_equal(give_control(6, 0, "\0\0\0\7", 4), 0);
        assert_int_equal(next_frame(&length, &word), 0x80030006);
        assert_int_equal(word, 7);
        assert_int_equal(give_control(6, 0, "\0\0\0\x8", 4), 0); /* would answer one of ours */
        assert_int_equal(sent.length, 0);
        spdy_go_away(spdy);
        assert_int_equal(next_frame(&length, &word), 0x80030007);
        assert_int_equal(give_open(1, 0, OUT_STREAM), 0);
        expect("");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_streams_open_talk_and_end),
                TEST(test_any_cut_of_the_bytes_means_the_same),
                TEST(test_streams_that_are_refused),
                TEST(test_streams_have_a_bound),
                TEST(test_headers_have_bounds),
                TEST(test_what_is_no_spdy),
                TEST(test_windows_count_once_the_peer_keeps_them),
                TEST(test_what_is_taken_in_is_given_back),
                TEST(test_pings),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
