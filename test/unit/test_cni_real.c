/*
 * Debian's bridge, host-local and portmap plugins with our namespaces. The "host" is a network
 * namespace of the test's own, so that links, addresses and iptables rules go with it, whatever
 * happens.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "network/namespace.h"
#include "network/network.h"

#define PLUGINS "/usr/lib/cni"
#define BRIDGE  "crisptest0"

static char base[] = "/tmp/crisp-test-cni-real-XXXXXX";
static bool usable;

static bool have(const char *name)
{
        AUTO_FREE char *path = xprintf(PLUGINS "/%s", name);
        return access(path, X_OK) == 0;
}

static char *in(const char *name)
{
        return xprintf("%s/%s", base, name);
}

static int setup(void **state)
{
        (void)state;
        log_set_level(LOG_LEVEL_ERROR);
        usable = geteuid() == 0 && have("bridge") && have("host-local") && have("portmap") &&
                 access("/usr/sbin/iptables", X_OK) == 0 && unshare(CLONE_NEWNET) == 0;
        if (!usable)
                print_message("needs root, iptables and the plugins in " PLUGINS "\n");
        return mkdtemp(base) ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        return file_remove_tree(base, NULL);
}

static bool looping;

/* Also after a test that failed half-way. */
static int unpin_all(void **state)
{
        (void)state;
        if (looping)
                loop_fini();
        looping = false;
        static const char *const pods[] = {"pod-0/ns", "pod-1/ns", "pod-2/ns"};
        for (size_t i = 0; i < 3; i++) {
                AUTO_FREE char *path = in(pods[i]);
                namespace_unpin(path, NULL);
        }
        return 0;
}

static void run(char *const *argv, struct buffer *output)
{
        char *environment[] = {(char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
        struct error err = {0};
        struct process_options options = PROCESS_OPTIONS_INIT;
        options.path = argv[0];
        options.argv = argv;
        options.environment = environment;
        struct process_run child = {.output_max = 1 << 20,
                                    .errors_max = 4096,
                                    .deadline = clock_after(20 * NSEC_PER_SEC)};
        if (process_run(&options, &child, &err) < 0 || process_check(&child, argv[0], &err) < 0)
                fail_msg("%s", err.message);
        buffer_add(output, child.output.data ? child.output.data : "", child.output.length);
        process_run_fini(&child);
}

static unsigned rules_with(const char *word)
{
        AUTO_BUFFER struct buffer rules = BUFFER_INIT;
        char *argv[] = {(char *)"/usr/sbin/iptables-save", NULL};
        unsigned count = 0;
        run(argv, &rules);
        for (const char *at = rules.data; (at = strstr(at, word)); at++)
                count++;
        return count;
}

static unsigned leases(void)
{
        AUTO_FREE char *folder = in("leases/real");
        AUTO_DIR DIR *stream = opendir(folder);
        unsigned count = 0;
        for (struct dirent *entry; stream && (entry = readdir(stream));)
                count += entry->d_name[0] == '1';
        return count;
}

static unsigned bridge_ports(void)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        char *argv[] = {(char *)"/usr/sbin/ip",
                        (char *)"-o",
                        (char *)"link",
                        (char *)"show",
                        (char *)"master",
                        (char *)BRIDGE,
                        NULL};
        unsigned count = 0;
        run(argv, &text);
        for (const char *at = text.data; at && (at = strchr(at, '\n')); at++)
                count++;
        return count;
}

/* A server inside of the pod's namespace, made on a thread that ends. */
struct server {
        const char *netns;
        int fd;
};

static void *listen_inside(void *argument)
{
        struct server *server = argument;
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(80)};
        AUTO_FD int netns = open(server->netns, O_RDONLY | O_CLOEXEC);
        if (netns < 0 || setns(netns, CLONE_NEWNET) < 0)
                return NULL;
        AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 8) == 0)
                server->fd = take_fd(&fd);
        return NULL;
}

static bool can_connect(const char *ip, uint16_t port)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        struct timeval patience = {.tv_sec = 5};
        AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        return inet_pton(AF_INET, ip, &address.sin_addr) == 1 &&
               connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

static struct network *start(bool ipv6)
{
        struct error err = {0};
        AUTO_FREE char *config_dir = in("net.d");
        AUTO_FREE char *cache_dir = in("cache");
        AUTO_FREE char *file = in("net.d/10-real.conflist");
        AUTO_FREE char *text = xprintf(
                "{\"cniVersion\":\"1.0.0\",\"name\":\"real\",\"plugins\":[{\"type\":\"bridge\","
                "\"bridge\":\"" BRIDGE "\",\"isGateway\":true,\"ipMasq\":true,\"ipam\":{\"type\":"
                "\"host-local\",\"dataDir\":\"%s/leases\",\"ranges\":[[{\"subnet\":"
                "\"10.213.77.0/24\"}]%s],\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}},{\"type\":"
                "\"portmap\",\"capabilities\":{\"portMappings\":true}}]}",
                base, ipv6 ? ",[{\"subnet\":\"fd00:213:77::/64\"}]" : "");
        file_make_directories(config_dir, 0755, &err);
        assert_int_equal(file_replace_volatile(file, text, strlen(text), 0644, &err), 0);
        char *plugin_dirs[] = {(char *)PLUGINS, NULL};
        struct network_options options = {
                .config_dir = config_dir, .plugin_dirs = plugin_dirs, .cache_dir = cache_dir};
        struct network *network = network_new(&options);
        assert_int_equal(network_start(network, &err), 0);
        return network;
}

static int pin_on_worker(void *argument)
{
        struct namespace_options options = {.directory = argument,
                                            .network = true,
                                            .ipc = true,
                                            .uts = true,
                                            .hostname = "pod"};
        return namespace_pin(&options, NULL);
}

static int unpin_on_worker(void *argument)
{
        return namespace_unpin(argument, NULL);
}

static void connects_pods(void)
{
        struct error err = {0};
        struct network *network = start(true);
        bool ready;
        char reason[NETWORK_REASON_MAX];
        network_status(network, &ready, reason);
        assert_true(ready);

        AUTO_FREE char *directory = in("pod-0/ns");
        AUTO_FREE char *netns = in("pod-0/ns/net");
        assert_int_equal(task_offload(pin_on_worker, directory), 0);
        const struct network_port port = {"tcp", NULL, 80, 18080};
        struct network_pod pod = {.id = "pod-0",
                                  .name = "pod",
                                  .namespace_ = "default",
                                  .uid = "u",
                                  .netns = netns,
                                  .ports = &port,
                                  .port_count = 1};
        struct network_result result = {0};
        if (network_attach(network, &pod, &result, &err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(result.count, 2);
        assert_memory_equal(result.ips[0], "10.213.77.", 10);
        assert_memory_equal(result.ips[1], "fd00:213:77::", 13);
        assert_int_equal(leases(), 1);
        assert_int_equal(bridge_ports(), 1);
        assert_true(rules_with("18080") > 0);

        struct server server = {.netns = netns, .fd = -1};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, listen_inside, &server), 0);
        pthread_join(thread, NULL);
        assert_true(server.fd >= 0);
        assert_true(can_connect(result.ips[0], 80));
        assert_true(can_connect("10.213.77.1", 18080));
        close(server.fd);

        if (network_detach(network, &pod, &err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(leases(), 0);
        assert_int_equal(bridge_ports(), 0);
        assert_int_equal(rules_with("18080"), 0);
        assert_int_equal(rules_with(result.ips[0]), 0);
        network_result_fini(&result);
        assert_int_equal(network_detach(network, &pod, &err), 0);
        assert_int_equal(task_offload(unpin_on_worker, directory), 0);
        network_free(network);
}

/* The namespace is gone (a reboot, an operator) before the pod is freed. */
static void frees_without_namespace(void)
{
        struct error err = {0};
        struct network *network = start(false);
        AUTO_FREE char *directory = in("pod-1/ns");
        AUTO_FREE char *netns = in("pod-1/ns/net");
        const struct network_port port = {"tcp", NULL, 80, 18081};
        struct network_pod pod = {.id = "pod-1", .netns = netns, .ports = &port, .port_count = 1};
        struct network_result result = {0};
        assert_int_equal(task_offload(pin_on_worker, directory), 0);
        if (network_attach(network, &pod, &result, &err) < 0)
                fail_msg("%s", err.message);
        network_result_fini(&result);
        assert_int_equal(leases(), 1);
        assert_int_equal(task_offload(unpin_on_worker, directory), 0);
        struct network_pod known = {.id = "pod-1"};
        if (network_detach(network, &known, &err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(leases(), 0);
        assert_int_equal(rules_with("18081"), 0);
        network_free(network);
}

/* Without host ports: Debian's portmap finds fault with its own rules (it looks for them among
 * those of IPv6). */
static void checks_pods(void)
{
        struct error err = {0};
        struct network *network = start(true);
        AUTO_FREE char *directory = in("pod-0/ns");
        AUTO_FREE char *netns = in("pod-0/ns/net");
        struct network_pod pod = {.id = "pod-0", .netns = netns};
        struct network_result result = {0};
        assert_true(network_check(network, &pod, &err) < 0);
        assert_int_equal(task_offload(pin_on_worker, directory), 0);
        if (network_attach(network, &pod, &result, &err) < 0)
                fail_msg("%s", err.message);
        network_result_fini(&result);
        if (network_check(network, &pod, &err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(task_offload(unpin_on_worker, directory), 0);
        assert_true(network_check(network, &pod, &err) < 0);
        assert_non_null(strstr(err.message, "network real: plugin bridge: CHECK: "));
        assert_int_equal(network_detach(network, &pod, &err), 0);
        assert_int_equal(leases(), 0);
        network_free(network);
}

/* The last plugin fails after the first has made an interface and taken an address. */
static void undoes_a_failed_attach(void)
{
        struct error err = {0};
        struct network *network = start(true);
        AUTO_FREE char *directory = in("pod-2/ns");
        AUTO_FREE char *netns = in("pod-2/ns/net");
        const struct network_port port = {"tcp", "not-an-address", 80, 18082};
        struct network_pod pod = {.id = "pod-2", .netns = netns, .ports = &port, .port_count = 1};
        struct network_result result = {0};
        assert_int_equal(task_offload(pin_on_worker, directory), 0);
        assert_true(network_attach(network, &pod, &result, &err) < 0);
        assert_non_null(strstr(err.message, "network real: plugin portmap: ADD: "));
        assert_int_equal(leases(), 0);
        assert_int_equal(bridge_ports(), 0);
        assert_int_equal(rules_with("18082"), 0);
        assert_int_equal(task_offload(unpin_on_worker, directory), 0);
        network_free(network);
}

static void task_body(void *argument)
{
        ((void (*)(void))argument)();
        loop_stop();
}

static void in_task(void (*function)(void))
{
        if (!usable)
                skip();
        assert_int_equal(loop_init(4, NULL), 0);
        looping = true;
        task_start("test", task_body, (void *)function);
        loop_run();
}

static void test_pods_get_a_network(void **state)
{
        (void)state;
        in_task(connects_pods);
}

static void test_pods_are_checked(void **state)
{
        (void)state;
        in_task(checks_pods);
}

static void test_a_namespace_that_has_gone(void **state)
{
        (void)state;
        in_task(frees_without_namespace);
}

static void test_a_failed_attach_leaves_nothing(void **state)
{
        (void)state;
        in_task(undoes_a_failed_attach);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_pods_get_a_network, unpin_all),
                cmocka_unit_test_teardown(test_pods_are_checked, unpin_all),
                cmocka_unit_test_teardown(test_a_namespace_that_has_gone, unpin_all),
                cmocka_unit_test_teardown(test_a_failed_attach_leaves_nothing, unpin_all),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
