/* What a streaming client asks for in its headers, and what it is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "cri/stream/handshake.h"

static struct handshake_answer answer;

/* name, value, ..., null */
static void decide(enum stream_kind kind, const char *const *headers)
{
        struct handshake_request request = {0};
        for (; *headers; headers += 2)
                handshake_header(&request, headers[0], headers[1]);
        handshake_decide(&request, kind, &answer);
}

#define DECIDE(kind, ...) decide(kind, (const char *const[]){__VA_ARGS__, NULL})
#define SPDY              "Connection", "Upgrade", "Upgrade", "SPDY/3.1"
#define WEB                                                                                        \
        "Connection", "keep-alive, Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version",      \
                "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="

static void assert_agreed(enum session_framing framing, unsigned version, const char *protocol)
{
        assert_int_equal(answer.status, 101);
        assert_int_equal(answer.framing, framing);
        assert_int_equal(answer.version, version);
        assert_string_equal(answer.protocol, protocol);
}

static void test_spdy_commands(void **state)
{
        static const char *const names[] = {"channel.k8s.io", "v2.channel.k8s.io",
                                            "v3.channel.k8s.io", "v4.channel.k8s.io"};
        (void)state;
        for (unsigned i = 0; i < 4; i++) {
                DECIDE(STREAM_EXEC, SPDY, "X-Stream-Protocol-Version", names[i]);
                assert_agreed(SESSION_SPDY, i + 1, names[i]);
        }
}

static void test_the_clients_order_counts(void **state)
{
        (void)state;
        DECIDE(STREAM_ATTACH, SPDY, "X-Stream-Protocol-Version", "v5.channel.k8s.io",
               "X-Stream-Protocol-Version", "v2.channel.k8s.io", "X-Stream-Protocol-Version",
               "v4.channel.k8s.io");
        assert_agreed(SESSION_SPDY, 2, "v2.channel.k8s.io");
        DECIDE(STREAM_ATTACH, SPDY, "x-stream-protocol-version",
               "v9.channel.k8s.io , v4.channel.k8s.io,v3.channel.k8s.io");
        assert_agreed(SESSION_SPDY, 4, "v4.channel.k8s.io");
        DECIDE(STREAM_EXEC, WEB, "Sec-WebSocket-Protocol",
               "v4.base64.channel.k8s.io, v5.channel.k8s.io");
        assert_agreed(SESSION_WEBSOCKET_BASE64, 4, "v4.base64.channel.k8s.io");
}

static void test_web_commands(void **state)
{
        (void)state;
        DECIDE(STREAM_EXEC, WEB, "Sec-WebSocket-Protocol", "v5.channel.k8s.io");
        assert_agreed(SESSION_WEBSOCKET, 5, "v5.channel.k8s.io");
        DECIDE(STREAM_EXEC, WEB, "Sec-WebSocket-Protocol", "base64.channel.k8s.io");
        assert_agreed(SESSION_WEBSOCKET_BASE64, 1, "base64.channel.k8s.io");
        DECIDE(STREAM_EXEC, WEB);
        assert_agreed(SESSION_WEBSOCKET, 1, "");
}

static void test_ports(void **state)
{
        (void)state;
        DECIDE(STREAM_PORT_FORWARD, SPDY, "X-Stream-Protocol-Version", "portforward.k8s.io");
        assert_agreed(SESSION_SPDY, 1, "portforward.k8s.io");
        DECIDE(STREAM_PORT_FORWARD, WEB, "Sec-WebSocket-Protocol", "SPDY/3.1+portforward.k8s.io");
        assert_agreed(SESSION_TUNNEL, 1, "SPDY/3.1+portforward.k8s.io");
        DECIDE(STREAM_PORT_FORWARD, WEB, "Sec-WebSocket-Protocol", "v4.channel.k8s.io");
        assert_agreed(SESSION_WEBSOCKET, 4, "v4.channel.k8s.io");
}

static void assert_refused(unsigned status, const char *words)
{
        assert_int_equal(answer.status, status);
        assert_non_null(strstr(answer.text, words));
}

static void test_each_kind_has_its_own_protocols(void **state)
{
        (void)state;
        DECIDE(STREAM_EXEC, SPDY, "X-Stream-Protocol-Version", "portforward.k8s.io");
        assert_refused(403, "X-Stream-Protocol-Version");
        assert_string_equal(answer.accepted[0], "v4.channel.k8s.io");
        DECIDE(STREAM_PORT_FORWARD, SPDY, "X-Stream-Protocol-Version", "v4.channel.k8s.io");
        assert_refused(403, "X-Stream-Protocol-Version");
        assert_string_equal(answer.accepted[0], "portforward.k8s.io");
        DECIDE(STREAM_EXEC, WEB, "Sec-WebSocket-Protocol", "SPDY/3.1+portforward.k8s.io");
        assert_refused(403, "Sec-WebSocket-Protocol");
}

static void test_what_is_missing(void **state)
{
        (void)state;
        DECIDE(STREAM_EXEC, "Upgrade", "SPDY/3.1");
        assert_refused(400, "neither");
        DECIDE(STREAM_EXEC, "Connection", "Upgrade", "Upgrade", "h2c");
        assert_refused(400, "neither");
        DECIDE(STREAM_EXEC, SPDY);
        assert_refused(400, "X-Stream-Protocol-Version is missing");
        DECIDE(STREAM_EXEC, "Connection", "upgrade", "Upgrade", "WebSocket",
               "Sec-WebSocket-Version", "13");
        assert_refused(400, "Sec-WebSocket-Key");
        DECIDE(STREAM_EXEC, "Connection", "upgrade", "Upgrade", "websocket", "Sec-WebSocket-Key",
               "x", "Sec-WebSocket-Version", "8");
        assert_refused(400, "13");
}

/* One that is cut would be another's. */
static void test_names_beyond_the_bounds_are_passed_over(void **state)
{
        char longer[HANDSHAKE_PROTOCOL_MAX + 1], many[HANDSHAKE_PROTOCOLS_MAX * 2 + 32] = "";
        struct handshake_request request = {0};
        (void)state;
        memset(longer, 'a', sizeof longer);
        longer[HANDSHAKE_PROTOCOL_MAX] = '\0';
        handshake_header(&request, "Sec-WebSocket-Protocol", longer);
        assert_int_equal(request.web_protocols.count, 0);
        longer[HANDSHAKE_PROTOCOL_MAX - 1] = '\0';
        handshake_header(&request, "Sec-WebSocket-Protocol", longer);
        assert_int_equal(request.web_protocols.count, 1);
        for (int i = 0; i < HANDSHAKE_PROTOCOLS_MAX; i++)
                strcat(many, "x,");
        strcat(many, "v5.channel.k8s.io");
        handshake_header(&request, "Sec-WebSocket-Protocol", many);
        assert_int_equal(request.web_protocols.count, HANDSHAKE_PROTOCOLS_MAX);
        handshake_header(&request, "Sec-WebSocket-Protocol", NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_spdy_commands),
                cmocka_unit_test(test_the_clients_order_counts),
                cmocka_unit_test(test_web_commands),
                cmocka_unit_test(test_ports),
                cmocka_unit_test(test_each_kind_has_its_own_protocols),
                cmocka_unit_test(test_what_is_missing),
                cmocka_unit_test(test_names_beyond_the_bounds_are_passed_over),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
