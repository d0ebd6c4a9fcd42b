#include "oci/shim_connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"

#define RECORD         "shim.json"
#define RECORD_VERSION 1
#define RECORD_MAX     8192 /* bytes */
#define LOG_READ       4096 /* bytes at once; also the longest line that is told */

/* ---- the record ---- */

int shim_record_write(const struct shim *shim, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/" RECORD, shim->folder);
        AUTO_JSON json_t *record =
                json_pack("{s:i, s:s, s:i, s:I, s:I, s:b, s:b}", "version", RECORD_VERSION,
                          "address", shim->bootstrap.address ? shim->bootstrap.address : "",
                          "task_api", shim->bootstrap.version, "pid", (json_int_t)shim->pid,
                          "start_time", (json_int_t)shim->start_time, "sandboxed", shim->sandboxed,
                          "sandbox_api", shim->sandbox_api);
        AUTO_FREE char *text = json_text(record);
        return file_replace_volatile(path, text, strlen(text), 0600, err);
}

static int take_record(struct shim *shim, const json_t *record, struct error *err)
{
        const char *address = "";
        int64_t version = 0, api = 0, pid = 0, start_time = 0;
        int result = json_get_int(record, "version", RECORD, &version, err);
        if (result == 0 && version > RECORD_VERSION)
                return error_set(err, ERROR_FAILED_PRECONDITION, RECORD ": of a newer crisp");
        if (result == 0)
                result = json_get_string(record, "address", RECORD, &address, err);
        if (result == 0)
                result = json_get_int(record, "task_api", RECORD, &api, err);
        if (result == 0)
                result = json_get_int(record, "pid", RECORD, &pid, err);
        if (result == 0)
                result = json_get_int(record, "start_time", RECORD, &start_time, err);
        if (result == 0)
                result = json_get_bool(record, "sandboxed", RECORD, &shim->sandboxed, err);
        if (result == 0)
                result = json_get_bool(record, "sandbox_api", RECORD, &shim->sandbox_api, err);
        if (result < 0)
                return result;
        shim->pid = (pid_t)pid;
        shim->start_time = (uint64_t)start_time;
        if (*address) {
                shim->bootstrap.address = xstrdup(address);
                shim->bootstrap.version = (int)api;
                shim->sandbox_known = shim->sandboxed;
        }
        return 0;
}

int shim_record_read(struct shim *shim, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/" RECORD, shim->folder);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_JSON json_t *record = NULL;
        if (shim->bootstrap.address)
                return 0;
        int result = file_read(path, RECORD_MAX, &text, err);
        if (result == -ENOENT) {
                error_set(err, ERROR_UNAVAILABLE,
                          "the pod's shim was not started, or its folder is gone");
                return -ENOENT;
        }
        if (result == 0)
                result = json_parse(text.data ? text.data : "", text.length, RECORD, &record, err);
        return result < 0 ? result : take_record(shim, record, err);
}

/* ---- the connection ---- */

static void on_closed(void *argument)
{
        struct shim *shim = argument;
        if (shim->stopping || table_get(shims.pods, shim->pod_id) != shim)
                return;
        log_warning("a pod's shim has ended", "pod", shim->pod_id, "handler", shim->handler->name,
                    NULL);
        if (shims.on_gone)
                shims.on_gone(shim->pod_id);
}

static int dial(struct shim *shim, int64_t deadline, struct error *err)
{
        int fd = -1;
        int result = shim_record_read(shim, err);
        if (result < 0)
                return result;
        if (!shim->bootstrap.address)
                return error_set(err, ERROR_UNAVAILABLE,
                                 "the pod's shim has not answered to its start");
        result = ttrpc_dial(shim->bootstrap.address, deadline, &fd, err);
        if (result == -ENOENT)
                error_set(err, ERROR_UNAVAILABLE, "the pod's shim has ended: nobody listens at %s",
                          shim->bootstrap.address);
        if (result < 0)
                return result;
        result = ttrpc_client_new(fd, on_closed, shim, &shim->client, err);
        if (result == 0 && shim->sandbox_known)
                shim_sandbox_await(shim);
        return result;
}

int shim_connect_client(struct shim *shim, int64_t deadline, struct error *err)
{
        if (shim->client && !ttrpc_client_has_ended(shim->client))
                return 0;
        int result = task_lock(&shim->connecting, deadline);
        if (result < 0)
                return error_errno(err, result, "connect to the pod's shim");
        if (!shim->client || ttrpc_client_has_ended(shim->client)) {
                ttrpc_client_free(take_ptr(shim->client));
                result = dial(shim, deadline, err);
                /* After a restart of ours. */
                if (result == 0 && shim->log < 0)
                        shim_log_open(shim, NULL);
        }
        task_unlock(&shim->connecting);
        return result;
}

int shim_connect_again(const char *pod_id, int64_t deadline, struct error *err)
{
        AUTO_SHIM struct shim *shim = shim_of_pod(pod_id);
        if (!shim)
                return error_set(err, ERROR_UNAVAILABLE, "the pod has no shim");
        return shim_connect_client(shim, deadline, err);
}

/* ---- the log ---- */

static void tell_line(const struct shim *shim, const char *line)
{
        /* As logrus writes it, which nearly all shims use; their notes are of use to who looks for
         * them. */
        bool matters = strstr(line, "level=error") || strstr(line, "level=warn") ||
                       strstr(line, "level=fatal") || strstr(line, "\"level\":\"error\"") ||
                       strstr(line, "panic");
        log_write(matters ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "a shim says", "pod", shim->pod_id,
                  "line", line, NULL);
}

static void read_log(void *argument, uint32_t events)
{
        struct shim *shim = argument;
        char text[LOG_READ + 1], *rest = text;
        (void)events;
        ssize_t got = read(shim->log, text, LOG_READ);
        if (got <= 0)
                return;
        text[got] = '\0';
        for (char *line; (line = strsep(&rest, "\n"));)
                if (*line)
                        tell_line(shim, line);
}

int shim_log_open(struct shim *shim, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/%s/log", shim->folder, shim->pod_id);
        if (mkfifo(path, 0600) < 0 && errno != EEXIST)
                return error_errno(err, errno, "make %s", path);
        /* Also for writing: so it stays open whoever comes and goes, and the shim finds a reader at
         * once. */
        AUTO_FD int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        shim->log_watch = watch_new(fd, EPOLLIN, read_log, shim, err);
        if (!shim->log_watch)
                return error_context(err, "watch %s", path);
        shim->log = take_fd(&fd);
        return 0;
}
