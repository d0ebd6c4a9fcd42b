/* Pulls, with shell scripts in crisp-image's place. */
#ifndef CRISP_TEST_PULL_FIXTURE_H
#define CRISP_TEST_PULL_FIXTURE_H

#include "test/unit/image_fixture.h"

#include <sys/wait.h>

#include "image/pull.h"

static struct store *store;
static struct sources *sources;

/* Writes a shell script that plays crisp-image. The request is in $request, its staging folder in
 * $staging. */
static inline void play(const char *script)
{
        AUTO_FREE char *text = xprintf("#!/bin/sh\n"
                                       "read -r request\n"
                                       "printf '%%s\\n' \"$request\" >>%s/requests\n"
                                       "staging=$(printf '%%s' \"$request\" | sed "
                                       "'s/.*\"staging\":\"\\([^\"]*\\)\".*/\\1/')\n"
                                       /* as it is known outside of its namespace */
                                       "read -r pid rest </proc/self/stat\n"
                                       "echo $pid >>%s/pids\n"
                                       "%s\n",
                                       fixture_root, fixture_root, script);
        write_file(at("crisp-image"), text);
        assert_int_equal(chmod(at("crisp-image"), 0755), 0);
}

#define DIGEST(c) "sha256:" c c c c c c c c c c c c c c c c
#define LAYER     DIGEST("a1a1")
/* Of what FILL stages. */
#define CONFIG   "sha256:50ec018801ffa1b5cad6dcb495c85ac6a8f2ccbfe6b6108cf4f42aadb5ef1381"
#define MANIFEST "sha256:ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
/* Of "[]" and a newline. */
#define INDEX "sha256:37517e5f3dc66819f61f5a7bb8ace1921282415f10551d2defa5c3eb0985b570"

/* An image of one layer. */
#define FILL                                                                                       \
        "mkdir -p $staging/layers/one\n"                                                           \
        "echo hello >$staging/layers/one/file\n"                                                   \
        "echo '{\"os\":\"linux\",\"rootfs\":{\"diff_ids\":[\"" LAYER                               \
        "\"]}}' >$staging/config.json\n"                                                           \
        "echo '{}' >$staging/manifest.json\n"                                                      \
        "echo '[]' >$staging/index.json\n"
#define PROGRESS                                                                                   \
        "echo '{\"progress\":{\"digest\":\"" LAYER "\",\"bytes\":5,\"total\":10,\"done\":false}}'" \
        "\n"
#define RESULT                                                                                     \
        "echo '{\"result\":{\"manifest_digest\":\"" MANIFEST                                       \
        "\",\"manifest_media_type\":\"x\",\"index_digest\":\"" INDEX "\",\"repo_digest\":\"" INDEX \
        "\",\"config_digest\":\"" CONFIG                                                           \
        "\",\"config_size\":5,\"total_size\":100,\"layers\":[{\"diff_id\":\"" LAYER                \
        "\",\"digest\":\"" LAYER                                                                   \
        "\",\"size\":10,\"directory\":\"one\",\"unpacked\":6,\"entries\":1}]}}'\n"
/* The same where the store has the layer. */
#define RESULT_PRESENT                                                                             \
        "echo '{\"result\":{\"manifest_digest\":\"" MANIFEST                                       \
        "\",\"manifest_media_type\":\"x\",\"repo_digest\":\"" MANIFEST                             \
        "\",\"config_digest\":\"" CONFIG                                                           \
        "\",\"config_size\":5,\"total_size\":100,\"layers\":[{\"diff_id\":\"" LAYER                \
        "\",\"digest\":\"" LAYER "\",\"size\":10}]}}'\n"

static char *auth_files[2];

static inline struct puller *make_puller(unsigned parallel, int64_t stall)
{
        static char *environment[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL};
        struct pull_options options = {
                .store = store,
                .sources = sources,
                .credentials = {.auth_files = auth_files},
                .program = at("crisp-image"),
                .environment = environment,
                .parallel = parallel,
                .stall = stall,
        };
        return puller_new(&options);
}

static inline int pull(struct puller *puller, const char *reference, char **id, struct error *err)
{
        struct pull_request request = {.reference = reference};
        return pull_image(puller, &request, id, err);
}

static inline unsigned lines_in(const char *path)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        unsigned lines = 0;
        if (file_read(path, 1 << 20, &text, NULL) < 0)
                return 0;
        for (size_t i = 0; i < text.length; i++)
                lines += text.data[i] == '\n';
        return lines;
}

/* No process and no staging folder is left. */
static inline void assert_nothing_left(void)
{
        while (task_count() > 1)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        AUTO_FREE char *listing = xprintf("test -z \"$(ls -A %s/images/staging)\"", fixture_root);
        assert_int_equal(system(listing), 0);
        /* What did not even start is reaped in the background. */
        siginfo_t info;
        while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        assert_int_equal(errno, ECHILD);
}

struct caller {
        struct puller *puller;
        const char *reference, *password;
        struct task *task;
        char *id;
        int result;
        bool finished;
        struct error err;
};

static inline void caller_task(void *argument)
{
        struct caller *caller = argument;
        struct fetch_credentials credentials = {.username = "me", .password = caller->password};
        struct pull_request request = {
                .reference = caller->reference,
                .credentials = caller->password ? &credentials : NULL,
        };
        caller->result = pull_image(caller->puller, &request, &caller->id, &caller->err);
        caller->finished = true;
}

static inline void call(struct caller *caller)
{
        caller->task = task_start("caller", caller_task, caller);
}

static inline void await_finish(struct caller *caller)
{
        while (!caller->finished)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
}

static inline void await_file(const char *path)
{
        while (!exists(path))
                task_sleep_until(clock_after(NSEC_PER_MSEC));
}

#define WAIT_FOR_GO "while [ ! -e ${staging%/images/*}/go ]; do sleep 0.01; done\n"

#endif
