/*
 * cni_fixture: a network of fake plugins in folders of its own, for tests of what plugins are told
 * and of what they do.
 */
#ifndef CRISP_TEST_UNIT_CNI_FIXTURE_H
#define CRISP_TEST_UNIT_CNI_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "network/cni.h"
#include "network/network.h"

#define PATIENCE (30 * NSEC_PER_SEC) /* how long something may take that must come at all */

/* Every fake plugin: notes how it is called, does what NAME.do says, and else succeeds. */
static const char script[] =
        "#!/bin/sh\n"
        "here=${0%/*}; name=${0##*/}; input=$(cat)\n"
        "printf '%s\\n' \"$CNI_COMMAND $name $CNI_CONTAINERID\" >>$here/calls\n"
        "printf '%s' \"$input\" >$here/$name.$CNI_COMMAND.in\n"
        "env | sort >$here/$name.$CNI_COMMAND.env\n"
        "[ ! -f $here/$name.do ] || . $here/$name.do\n"
        "case $CNI_COMMAND in\n"
        "ADD) echo '{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.9.0.2/24\"},"
        "{\"address\":\"fd00::2/64\"}],\"dns\":{\"domain\":\"'$name'\"}}' ;;\n"
        "VERSION) echo '{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"0.4.0\",\"1.0.0\"]}' "
        ";;\n"
        "esac\n";

static char base[64];
static char *config_dir, *plugin_dir, *cache_dir;
static struct network *network;

/* ---- the surroundings ---- */

static inline char *in(const char *folder, const char *name)
{
        return xprintf("%s/%s", folder, name);
}

static inline void put_mode(const char *folder, const char *name, const char *text, mode_t mode)
{
        AUTO_FREE char *path = in(folder, name);
        struct error err = {0};
        if (file_replace_volatile(path, text, strlen(text), mode, &err) < 0)
                fail_msg("%s", err.message);
}

static inline void put(const char *folder, const char *name, const char *text)
{
        put_mode(folder, name, text, 0644);
}

static inline char *get(const char *folder, const char *name)
{
        AUTO_FREE char *path = in(folder, name);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        if (file_read(path, 1 << 20, &text, NULL) < 0)
                return xstrdup("");
        return buffer_take(&text);
}

static inline void assert_calls(const char *expected)
{
        AUTO_FREE char *calls = get(plugin_dir, "calls");
        assert_string_equal(calls, expected);
        AUTO_FREE char *path = in(plugin_dir, "calls");
        unlink(path);
}

static inline unsigned cached(void)
{
        AUTO_FREE char *results = in(cache_dir, "results");
        AUTO_DIR DIR *folder = opendir(results);
        unsigned count = 0;
        for (struct dirent *entry; folder && (entry = readdir(folder));)
                count += entry->d_name[0] != '.';
        return count;
}

static inline int setup(void **state)
{
        (void)state;
        log_set_level(LOG_LEVEL_ERROR);
        strcpy(base, "/tmp/crisp-test-cni-XXXXXX");
        if (!mkdtemp(base))
                return -1;
        config_dir = in(base, "net.d");
        plugin_dir = in(base, "bin");
        cache_dir = in(base, "cache");
        mkdir(config_dir, 0755);
        mkdir(plugin_dir, 0755);
        put_mode(plugin_dir, "first", script, 0755);
        put_mode(plugin_dir, "second", script, 0755);
        return loop_init(4, NULL);
}

static inline int teardown(void **state)
{
        (void)state;
        network_free(network);
        network = NULL;
        loop_fini();
        file_remove_tree(base, NULL);
        free(config_dir);
        free(plugin_dir);
        free(cache_dir);
        return 0;
}

static inline void start_network(int64_t timeout)
{
        struct error err = {0};
        char *plugin_dirs[] = {(char *)"/nowhere/at/all", plugin_dir, NULL};
        struct network_options options = {
                .config_dir = config_dir,
                .plugin_dirs = plugin_dirs,
                .cache_dir = cache_dir,
                .timeout = timeout,
                .owner = base,
        };
        network = network_new(&options);
        assert_int_equal(network_start(network, &err), 0);
}

static void (*body)(void);

static inline void body_task(void *argument)
{
        (void)argument;
        body();
        /* What the network asks its plugins by itself ends too. */
        while (task_count() > 1)
                task_sleep_until(clock_after(10 * NSEC_PER_MSEC));
        loop_stop();
}

static inline void in_task(void (*function)(void))
{
        body = function;
        task_start("test", body_task, NULL);
        loop_run();
}

#define CHAIN                                                                                      \
        "{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"plugins\":["                                 \
        "{\"type\":\"first\",\"some\":\"thing\"},"                                                 \
        "{\"type\":\"second\",\"capabilities\":{\"portMappings\":true,\"bandwidth\":true}}]}"

static const struct network_pod pod = {
        .id = "pod1", .name = "name", .namespace_ = "space", .uid = "u-1", .netns = "/run/netns/x"};

static inline void assert_told(const struct error *err, const char *words)
{
        if (!strstr(err->message, words))
                fail_msg("\"%s\" does not tell \"%s\"", err->message, words);
}

static inline void assert_member(const json_t *object, const char *expected, const char *key)
{
        AUTO_JSON json_t *wanted = json_loads(expected, JSON_DECODE_ANY, NULL);
        assert_non_null(wanted);
        const json_t *member = json_object_get(object, key);
        if (!member || !json_equal(member, wanted)) {
                AUTO_FREE char *text = member ? json_text(member) : xstrdup("nothing");
                fail_msg("%s is %s, not %s", key, text, expected);
        }
}

/* Waits until the status is this, and the reason has these words. */
static inline void await(bool wanted, const char *words)
{
        bool ready = !wanted;
        char reason[NETWORK_REASON_MAX] = "";
        for (int64_t end = clock_after(PATIENCE); clock_monotonic() < end;) {
                network_status(network, &ready, reason);
                if (ready == wanted && strstr(reason, words))
                        return;
                task_sleep_until(clock_after(20 * NSEC_PER_MSEC));
        }
        fail_msg("ready %d, %s: \"%s\"", ready, words, reason);
}

#endif
