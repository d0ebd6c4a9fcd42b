#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/memory.h"
#include "image/line.h"
#include "image/offline_request.h"

/* ---- writing ---- */

/* What is told of an archive's bytes may be no UTF-8. */
static void put_text(json_t *object, const char *key, const char *text)
{
        json_t *value = json_string(text);

        if (!value) {
                AUTO_FREE char *plain = xstrdup(text);
                for (char *c = plain; *c; c++)
                        if ((unsigned char)*c >= 0x80)
                                *c = '?';
                value = json_string(plain);
        }
        json_object_set_new(object, key, value);
}

static json_t *progress_to_json(const struct offline_progress *progress)
{
        json_t *object = json_object();
        put_text(object, "object", progress->object);
        line_put_integer(object, "bytes", progress->bytes);
        line_put_integer(object, "total", progress->total);
        line_put_integer(object, "done", (int64_t)progress->done);
        line_put_integer(object, "count", (int64_t)progress->count);
        return object;
}

static json_t *finding_to_json(const struct finding *finding)
{
        json_t *object = json_object();
        line_put_integer(object, "verdict", finding->verdict);
        put_text(object, "object", finding->object);
        put_text(object, "what", finding->what);
        put_text(object, "text", finding->text);
        return object;
}

static json_t *loaded_to_json(const struct offline_reply *reply)
{
        struct fetch_reply result = {.kind = FETCH_RESULT, .result = reply->result};
        AUTO_FREE char *text = reply_encode(&result);
        json_t *object = NULL;

        json_parse(text, strlen(text), "result", &object, NULL);
        line_put_string(object, "directory", reply->directory);
        line_put_strings(object, "names", reply->names, reply->name_count);
        return object;
}

char *offline_reply_encode(const struct offline_reply *reply)
{
        struct fetch_reply error = {.kind = FETCH_ERROR, .error = reply->error};
        AUTO_JSON json_t *line = json_object();
        json_t *object;

        switch (reply->kind) {
        case OFFLINE_SAYS_PROGRESS:
                json_object_set_new(line, "working", progress_to_json(&reply->progress));
                break;
        case OFFLINE_SAYS_FINDING:
                json_object_set_new(line, "finding", finding_to_json(&reply->finding));
                break;
        case OFFLINE_SAYS_LOADED:
                json_object_set_new(line, "loaded", loaded_to_json(reply));
                break;
        case OFFLINE_SAYS_OPAQUE:
                object = json_object();
                line_put_string(object, "diff_id", reply->diff_id);
                line_put_paths(object, "paths", reply->opaque, reply->opaque_count);
                json_object_set_new(line, "opaque", object);
                break;
        case OFFLINE_SAYS_DONE:
                object = json_object();
                line_put_integer(object, "objects", (int64_t)reply->objects);
                line_put_integer(object, "unsaid", (int64_t)reply->unsaid);
                json_object_set_new(line, "done", object);
                break;
        case OFFLINE_SAYS_ERROR:
                return reply_encode(&error);
        }
        return line_finish(line);
}

/* ---- reading ---- */

static int read_progress(const json_t *object, struct arena *arena,
                         struct offline_progress *progress, struct error *err)
{
        static const char place[] = "reply: working";
        int64_t done = 0, count = 0;
        int r;

        if ((r = line_need_text(object, "object", place, arena, &progress->object, err)) < 0 ||
            (r = line_get_size(object, "bytes", place, &progress->bytes, err)) < 0 ||
            (r = line_get_size(object, "total", place, &progress->total, err)) < 0 ||
            (r = line_get_size(object, "done", place, &done, err)) < 0 ||
            (r = line_get_size(object, "count", place, &count, err)) < 0)
                return r;
        progress->done = (uint64_t)done;
        progress->count = (uint64_t)count;
        return 0;
}

static int read_finding(const json_t *object, struct arena *arena, struct finding *finding,
                        struct error *err)
{
        static const char place[] = "reply: finding";
        int64_t verdict = 0;
        int r;

        finding->text = "";
        if ((r = line_get_size(object, "verdict", place, &verdict, err)) < 0 ||
            (r = line_need_text(object, "object", place, arena, &finding->object, err)) < 0 ||
            (r = line_need_text(object, "what", place, arena, &finding->what, err)) < 0 ||
            (r = line_get_text(object, "text", place, arena, &finding->text, err)) < 0)
                return r;
        if (verdict < FINDING_PASS || verdict > FINDING_FAIL)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: no such verdict", place);
        finding->verdict = (enum finding_verdict)verdict;
        return 0;
}

static int read_loaded(const json_t *object, struct arena *arena, struct offline_reply *reply,
                       struct error *err)
{
        static const char place[] = "reply: loaded";
        AUTO_FREE char *text = json_text(object);
        struct fetch_reply result;
        int r = reply_decode(text, strlen(text), arena, &result, err);

        if (r == 0 && result.kind != FETCH_RESULT)
                r = error_set(err, ERROR_INVALID_ARGUMENT, "%s: no result", place);
        if (r < 0 ||
            (r = line_need_text(object, "directory", place, arena, &reply->directory, err)) < 0 ||
            (r = line_get_strings(object, "names", place, OFFLINE_NAMES_MAX, arena, &reply->names,
                                  &reply->name_count, err)) < 0)
                return r;
        reply->result = result.result;
        return 0;
}

static int read_opaque(const json_t *object, struct arena *arena, struct offline_reply *reply,
                       struct error *err)
{
        static const char place[] = "reply: opaque";
        int r = line_need_text(object, "diff_id", place, arena, &reply->diff_id, err);
        if (r == 0)
                r = line_get_paths(object, "paths", place, arena, &reply->opaque,
                                   &reply->opaque_count, err);
        return r;
}

static int read_done(const json_t *object, struct offline_reply *reply, struct error *err)
{
        static const char place[] = "reply: done";
        int64_t objects = 0, unsaid = 0;
        int r = line_get_size(object, "objects", place, &objects, err);
        if (r == 0)
                r = line_get_size(object, "unsaid", place, &unsaid, err);
        reply->objects = (uint64_t)objects;
        reply->unsaid = (uint64_t)unsaid;
        return r;
}

int offline_reply_decode(const char *line, size_t length, struct arena *arena,
                         struct offline_reply *reply, struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        struct offline_reply decoded = {0};
        const json_t *object;

        int r = json_parse(line, length, "reply", &value, err);
        if (r < 0)
                return r;
        if ((object = json_object_get(value, "working"))) {
                decoded.kind = OFFLINE_SAYS_PROGRESS;
                r = read_progress(object, arena, &decoded.progress, err);
        } else if ((object = json_object_get(value, "finding"))) {
                decoded.kind = OFFLINE_SAYS_FINDING;
                r = read_finding(object, arena, &decoded.finding, err);
        } else if ((object = json_object_get(value, "loaded"))) {
                decoded.kind = OFFLINE_SAYS_LOADED;
                r = read_loaded(object, arena, &decoded, err);
        } else if ((object = json_object_get(value, "opaque"))) {
                decoded.kind = OFFLINE_SAYS_OPAQUE;
                r = read_opaque(object, arena, &decoded, err);
        } else if ((object = json_object_get(value, "done"))) {
                decoded.kind = OFFLINE_SAYS_DONE;
                r = read_done(object, &decoded, err);
        } else {
                struct fetch_reply error;
                r = reply_decode(line, length, arena, &error, err);
                if (r == 0 && error.kind != FETCH_ERROR)
                        r = error_set(err, ERROR_INVALID_ARGUMENT, "reply: of a pull");
                decoded.kind = OFFLINE_SAYS_ERROR;
                decoded.error = error.error;
        }
        if (r == 0)
                *reply = decoded;
        return r;
}
