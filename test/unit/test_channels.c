/* Channels in a WebSocket's messages: frames by hand, as a client of Kubernetes sends them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "cri/stream/channels.h"
#include "cri/stream/queue.h"

#define FIN          0x80
#define CONTINUATION 0
#define TEXT         1
#define BINARY       2
#define CLOSE        8
#define PING         9
#define PONG         10
#define MASKED       0x80

static struct channels *channels;
static struct queue sent; /* by us */
static struct queue told; /* events in words */

static void on_data(void *argument, uint32_t channel, const void *bytes, size_t length)
{
        (void)argument;
        AUTO_FREE char *text = xprintf("%u:%.*s;", channel, (int)length, (const char *)bytes);
        queue_add(&told, text, strlen(text));
}

static void on_finished(void *argument, uint32_t channel)
{
        (void)argument;
        AUTO_FREE char *text = xprintf("end %u;", channel);
        queue_add(&told, text, strlen(text));
}

static void on_output(void *argument, const void *bytes, size_t length)
{
        (void)argument;
        queue_add(&sent, bytes, length);
}

static void start(bool base64, bool close_signal)
{
        static const struct channels_events events = {on_data, on_finished, on_output};
        channels = channels_new(&events, NULL, base64, close_signal);
}

static int tear_down(void **state)
{
        (void)state;
        channels_free(channels);
        queue_fini(&sent);
        queue_fini(&told);
        return 0;
}

/* A frame of up to 125 bytes, masked as a client's have to be. */
static int give(unsigned first, const char *content, size_t length, size_t step)
{
        static const unsigned char mask[] = {0x12, 0x34, 0x56, 0x78};
        unsigned char frame[6 + 125] = {(unsigned char)first, (unsigned char)(MASKED | length)};
        int result = 0;
        memcpy(frame + 2, mask, sizeof mask);
        for (size_t i = 0; i < length; i++)
                frame[6 + i] = (unsigned char)content[i] ^ mask[i % 4];
        for (size_t at = 0; at < 6 + length && result == 0; at += step)
                result = channels_receive(channels, frame + at,
                                          6 + length - at < step ? 6 + length - at : step, NULL);
        return result;
}

#define GIVE(first, content) give(first, content, sizeof(content) - 1, sizeof(content) + 6)

static void assert_told(const char *text)
{
        queue_add(&told, "", 1);
        assert_string_equal(queue_front(&told), text);
        queue_drop(&told, told.length);
}

static void assert_sent(const char *bytes, size_t length)
{
        assert_int_equal(sent.length, length);
        assert_memory_equal(queue_front(&sent), bytes, length);
        queue_drop(&sent, length);
}

#define ASSERT_SENT(bytes) assert_sent(bytes, sizeof(bytes) - 1)

static void test_messages_name_their_channel(void **state)
{
        (void)state;
        start(false, true);
        assert_int_equal(GIVE(FIN | BINARY, "\0in"), 0);
        assert_int_equal(GIVE(FIN | BINARY, "\4size"), 0);
        assert_int_equal(GIVE(FIN | BINARY, "\0"), 0); /* nothing */
        assert_told("0:in;4:size;");
}

static void test_messages_in_pieces(void **state)
{
        (void)state;
        start(false, true);
        assert_int_equal(give(FIN | BINARY, "\0abc", 4, 1), 0);
        assert_told("0:a;0:b;0:c;");
        /* Fragments are one message, with a ping between them. */
        assert_int_equal(GIVE(BINARY, "\1de"), 0);
        assert_int_equal(GIVE(FIN | PING, "hi"), 0);
        ASSERT_SENT("\x8a\2hi");
        assert_int_equal(GIVE(FIN | CONTINUATION, "f"), 0);
        assert_told("1:de;1:f;");
}

static void test_the_close_signal(void **state)
{
        (void)state;
        start(false, true);
        assert_int_equal(GIVE(FIN | BINARY, "\xff\0"), 0);
        assert_told("end 0;");
        channels_free(channels);
        start(false, false); /* before v5 it is a channel like any other */
        assert_int_equal(GIVE(FIN | BINARY, "\xff\1"), 0);
        assert_told("255:\1;");
}

static void test_base64(void **state)
{
        (void)state;
        start(true, false);
        assert_int_equal(GIVE(FIN | TEXT, "0aGVsbG8="), 0);
        assert_told("0:hello;");
        /* Cut anywhere: what is decoded comes in groups of three. */
        assert_int_equal(give(FIN | TEXT, "4aGVsbG8gdGhlcmU=", 17, 1), 0);
        assert_told("4:hel;4:lo ;4:the;4:re;");
        channels_send(channels, 1, "out", 3);
        ASSERT_SENT("\x81\5"
                    "1b3V0");
}

static void test_what_is_not_base64(void **state)
{
        static const char *const wrong[] = {"0aGV", "0aG V", "0====", "0aGVsbG8=aGVs", "0aGVsb"};
        (void)state;
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                start(true, false);
                assert_int_equal(give(FIN | TEXT, wrong[i], strlen(wrong[i]), 100), -EINVAL);
                channels_free(channels);
        }
        queue_drop(&told, told.length); /* what was right of them */
        start(true, false);
        assert_int_equal(GIVE(FIN | TEXT, "0aGVs"), 0);
        assert_told("0:hel;");
}

static void test_sending(void **state)
{
        (void)state;
        start(false, false);
        channels_send(channels, 2, "err", 3);
        ASSERT_SENT("\x82\4\2err");
        channels_send(channels, 1, "", 0);
        ASSERT_SENT("\x82\1\1");
        char much[70000];
        memset(much, 'x', sizeof much);
        channels_send(channels, 1, much, sizeof much);
        assert_int_equal(sent.length, 2 + 8 + 1 + sizeof much);
        assert_memory_equal(queue_front(&sent), "\x82\x7f\0\0\0\0\0\1\x11\x71\1x", 12);
}

static void test_goodbyes(void **state)
{
        (void)state;
        start(false, false);
        assert_int_equal(GIVE(FIN | CLOSE, "\3\xe8"), -ECANCELED);
        ASSERT_SENT("\x88\2\3\xe8");
        channels_free(channels);
        start(false, false);
        channels_close(channels);
        ASSERT_SENT("\x88\2\3\xe8");
        channels_send(channels, 1, "late", 4);
        ASSERT_SENT("");
}

static void test_what_breaks_the_rules(void **state)
{
        (void)state;
        start(false, false);
        assert_int_equal(channels_receive(channels, "\x82\1x", 3, NULL), -EINVAL); /* no mask */
        channels_free(channels);
        start(false, false);
        assert_int_equal(GIVE(FIN | CONTINUATION, "x"), -EINVAL);
        channels_free(channels);
        start(false, false);
        assert_int_equal(GIVE(0x70 | FIN | BINARY, "x"), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_messages_name_their_channel, tear_down),
                cmocka_unit_test_teardown(test_messages_in_pieces, tear_down),
                cmocka_unit_test_teardown(test_the_close_signal, tear_down),
                cmocka_unit_test_teardown(test_base64, tear_down),
                cmocka_unit_test_teardown(test_what_is_not_base64, tear_down),
                cmocka_unit_test_teardown(test_sending, tear_down),
                cmocka_unit_test_teardown(test_goodbyes, tear_down),
                cmocka_unit_test_teardown(test_what_breaks_the_rules, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
