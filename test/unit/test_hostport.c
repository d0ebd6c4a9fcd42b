#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "network/conntrack.h"
#include "network/hostport.h"

static const struct network_port ports[] = {
        {"tcp", NULL, 80, 8080}, {"udp", "192.0.2.1", 53, 5353}, {"sctp", "fd00::1", 7, 77},
        {"tcp", "", 81, 0},      {"tcp", "0.0.0.0", 82, 8082},
};
static const struct hostport_pod pod = {
        .owner = "/var/lib/crisp", .id = "abc", .ports = ports, .count = 5};

static char *written(enum hostport_tool tool, const char *ip)
{
        struct buffer text = BUFFER_INIT;
        hostport_write_add(tool, &pod, ip, &text);
        return buffer_take(&text);
}

static void assert_has(const char *text, const char *words, bool has)
{
        if (!strstr(text, words) == has)
                fail_msg("\"%s\" is %s in: %s", words, has ? "not" : "there", text);
}

static void test_nft(void **state)
{
        (void)state;
        char mark[HOSTPORT_MARK_SIZE];
        hostport_mark(pod.owner, mark);
        AUTO_FREE char *four = written(HOSTPORT_NFT, "10.0.0.2");
        AUTO_FREE char *any = NULL, *one = NULL;
        any = xprintf("add element ip crisp-hostports ports { tcp . 8080 comment \"%s abc\" : "
                      "10.0.0.2 . 80 }\n",
                      mark);
        one = xprintf("add element ip crisp-hostports addressed { 192.0.2.1 . udp . 5353 comment "
                      "\"%s abc\" : 10.0.0.2 . 53 }\n",
                      mark);
        assert_has(four, any, true);
        assert_has(four, one, true);
        assert_has(four, "tcp . 8082", true);
        assert_has(four, "sctp", false);
        assert_has(four, ". 81 }", false);
        AUTO_FREE char *six = written(HOSTPORT_NFT, "fd00::2");
        assert_has(six, "addressed { fd00::1 . sctp . 77 ", true);
        assert_has(six, "ports { tcp . 8080 ", true);
        assert_has(six, "192.0.2.1", false);
        assert_has(six, "8082", false);
}

static void test_iptables(void **state)
{
        (void)state;
        AUTO_FREE char *four = written(HOSTPORT_IPTABLES, "10.0.0.2");
        assert_has(four, "*nat\n-A PREROUTING -p tcp ", true);
        assert_has(four, "-A OUTPUT -d 192.0.2.1 -p udp ", true);
        assert_has(four, "--to-destination 10.0.0.2:53\n", true);
        assert_has(four, "sctp", false);
        AUTO_FREE char *six = written(HOSTPORT_IPTABLES, "fd00::2");
        assert_has(six, "--to-destination [fd00::2]:7\n", true);
}

static bool is_abc(void *argument, const char *id)
{
        (void)argument;
        return strcmp(id, "abc") == 0;
}

static char *removed(enum hostport_tool tool, const char *listing)
{
        struct buffer text = BUFFER_INIT;
        struct error err;
        assert_int_equal(hostport_write_removal(tool, pod.owner, false, listing, strlen(listing),
                                                is_abc, NULL, &text, &err),
                         0);
        return text.data ? buffer_take(&text) : xstrdup("");
}

/* What is another pod's, another daemon's or a stranger's stays. */
static void test_removal(void **state)
{
        (void)state;
        char mark[HOSTPORT_MARK_SIZE];
        hostport_mark(pod.owner, mark);
        AUTO_FREE char *json = xprintf(
                "{\"nftables\":[{\"metainfo\":{}},{\"map\":{\"name\":\"ports\",\"elem\":["
                "[{\"elem\":{\"val\":{\"concat\":[\"tcp\",80]},\"comment\":\"%s abc\"}},1],"
                "[{\"elem\":{\"val\":{\"concat\":[\"tcp\",81]},\"comment\":\"%s abcd\"}},1],"
                "[{\"elem\":{\"val\":{\"concat\":[\"tcp\",82]},\"comment\":\"crispffffffff "
                "abc\"}},1],"
                "[{\"concat\":[\"tcp\",83]},1]]}},"
                "{\"set\":{\"name\":\"loops\",\"elem\":[{\"elem\":{\"val\":{\"concat\":[\"a\","
                "\"a\"]}"
                ",\"comment\":\"%s abc\"}}]}}]}",
                mark, mark, mark);
        AUTO_FREE char *nft = removed(HOSTPORT_NFT, json);
        assert_string_equal(nft, "delete element ip crisp-hostports ports { tcp . 80 }\n"
                                 "delete element ip crisp-hostports loops { a . a }\n");
        AUTO_FREE char *saved = xprintf("*nat\n:PREROUTING ACCEPT [0:0]\n"
                                        "-A PREROUTING --comment \"%s abc\" -j DNAT\n"
                                        "-A PREROUTING --comment \"%s abcd\" -j DNAT\n"
                                        "-A OUTPUT --comment \"other abc\" -j DNAT\n"
                                        "-A OUTPUT --comment \"%s abc\" -j DNAT\nCOMMIT\n",
                                        mark, mark, mark);
        AUTO_FREE char *iptables = removed(HOSTPORT_IPTABLES, saved);
        AUTO_FREE char *wanted = xprintf("*nat\n-D PREROUTING --comment \"%s abc\" -j DNAT\n"
                                         "-D OUTPUT --comment \"%s abc\" -j DNAT\nCOMMIT\n",
                                         mark, mark);
        assert_string_equal(iptables, wanted);
        AUTO_FREE char *nothing = removed(HOSTPORT_IPTABLES, "*nat\nCOMMIT\n");
        assert_string_equal(nothing, "");
        struct buffer text = BUFFER_INIT;
        struct error err = {0};
        assert_true(hostport_write_removal(HOSTPORT_NFT, pod.owner, false, "no", 2, is_abc, NULL,
                                           &text, &err) < 0);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
}

/* A flow as the kernel tells it: its original tuple, with ports 12345 to 53, of UDP. */
static const unsigned char flow[] __attribute__((aligned(4))) = {
        2,  0, 0, 0,                      /* struct nfgenmsg */
        52, 0, 1, 0x80,                   /* CTA_TUPLE_ORIG */
        20, 0, 1, 0x80,                   /*   CTA_TUPLE_IP */
        8,  0, 1, 0,    10,   0,    0, 1, /*     from */
        8,  0, 2, 0,    10,   0,    0, 2, /*     to */
        28, 0, 2, 0x80,                   /*   CTA_TUPLE_PROTO */
        5,  0, 1, 0,    17,   0,    0, 0, /*     CTA_PROTO_NUM */
        6,  0, 2, 0,    0x30, 0x39, 0, 0, /*     CTA_PROTO_SRC_PORT */
        6,  0, 3, 0,    0,    53,   0, 0, /*     CTA_PROTO_DST_PORT */
};

static void test_flows(void **state)
{
        (void)state;
        const struct nlattr *tuple = NULL;
        assert_int_equal(conntrack_match_udp(flow, sizeof flow, 53, &tuple), 0);
        assert_ptr_equal(tuple, flow + 4);
        assert_int_equal(conntrack_match_udp(flow, sizeof flow, 12345, &tuple), -ENOENT);
        for (size_t length = 0; length < sizeof flow; length++)
                assert_int_equal(conntrack_match_udp(flow, length, 53, &tuple), -ENOENT);
        unsigned char other[sizeof flow] __attribute__((aligned(4)));
        memcpy(other, flow, sizeof flow);
        other[36] = 6; /* TCP */
        assert_int_equal(conntrack_match_udp(other, sizeof other, 53, &tuple), -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nft),
                cmocka_unit_test(test_iptables),
                cmocka_unit_test(test_removal),
                cmocka_unit_test(test_flows),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
