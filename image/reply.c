#include "image/request.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/memory.h"
#include "image/line.h"
#include "image/reference.h"

#define LAYERS_MAX 4096       /* of one image; overlayfs itself stops at 500 */
#define LINKS_MAX  (4u << 20) /* of one layer */

static json_t *layer_to_json(const struct fetch_layer *layer)
{
        json_t *object = json_object();

        line_put_string(object, "diff_id", layer->diff_id);
        line_put_string(object, "digest", layer->digest);
        line_put_integer(object, "size", layer->size);
        line_put_string(object, "directory", layer->directory);
        line_put_integer(object, "unpacked", layer->unpacked);
        line_put_integer(object, "entries", layer->entries);
        line_put_paths(object, "opaque", layer->opaque, layer->opaque_count);
        line_put_paths(object, "implied", layer->implied, layer->implied_count);
        if (layer->link_count > 0) {
                json_t *links = json_array();
                for (size_t i = 0; i < layer->link_count; i++) {
                        json_t *link = json_object();
                        json_object_set_new(link, "path", line_path_to_json(layer->links[i].path));
                        json_object_set_new(link, "target",
                                            line_path_to_json(layer->links[i].target));
                        json_array_append_new(links, link);
                }
                json_object_set_new(object, "links", links);
        }
        return object;
}

static json_t *result_to_json(const struct fetch_result *result)
{
        json_t *object = json_object();

        line_put_string(object, "manifest_digest", result->manifest_digest);
        line_put_string(object, "manifest_media_type", result->manifest_media_type);
        line_put_string(object, "index_digest", result->index_digest);
        line_put_string(object, "repo_digest", result->repo_digest);
        json_object_set_new(object, "artifact", json_boolean(result->artifact));
        line_put_string(object, "config_digest", result->config_digest);
        line_put_integer(object, "config_size", result->config_size);
        line_put_integer(object, "total_size", result->total_size);
        json_t *layers = json_array();
        for (size_t i = 0; i < result->layer_count; i++)
                json_array_append_new(layers, layer_to_json(&result->layers[i]));
        json_object_set_new(object, "layers", layers);
        return object;
}

/* A message may quote a registry that does not speak UTF-8. */
static json_t *text_to_json(const char *text)
{
        json_t *value = json_string(text);
        if (value)
                return value;

        AUTO_FREE char *plain = xstrdup(text);
        for (char *c = plain; *c; c++) {
                if ((unsigned char)*c >= 0x80)
                        *c = '?';
        }
        return json_string(plain);
}

char *reply_encode(const struct fetch_reply *reply)
{
        AUTO_JSON json_t *line = json_object();
        json_t *object;

        switch (reply->kind) {
        case FETCH_PROGRESS:
                object = json_object();
                line_put_string(object, "digest", reply->progress.digest);
                line_put_integer(object, "bytes", reply->progress.bytes);
                line_put_integer(object, "total", reply->progress.total);
                json_object_set_new(object, "done", json_boolean(reply->progress.done));
                json_object_set_new(line, "progress", object);
                break;
        case FETCH_SIGNATURES:
                object = json_object();
                line_put_string(object, "manifest_digest", reply->found.manifest_digest);
                line_put_string(object, "index_digest", reply->found.index_digest);
                line_put_string(object, "media_type", reply->found.media_type);
                line_put_integer(object, "size", reply->found.size);
                json_object_set_new(object, "list", signatures_to_json(&reply->found.signatures));
                json_object_set_new(line, "signatures", object);
                break;
        case FETCH_WANT:
                object = json_object();
                line_put_string(object, "diff_id", reply->want.diff_id);
                line_put_string(object, "digest", reply->want.digest);
                line_put_integer(object, "size", reply->want.size);
                json_object_set_new(line, "want", object);
                break;
        case FETCH_LAYER:
                json_object_set_new(line, "layer", layer_to_json(&reply->layer));
                break;
        case FETCH_RESULT:
                json_object_set_new(line, "result", result_to_json(&reply->result));
                break;
        case FETCH_ERROR:
                object = json_object();
                line_put_integer(object, "code", reply->error.code);
                line_put_string(object, "name", error_code_name(reply->error.code));
                line_put_string(object, "word", reply->error.word);
                json_object_set_new(object, "message", text_to_json(reply->error.message));
                json_object_set_new(line, "error", object);
                break;
        }
        return line_finish(line);
}

static int decode_layer(const json_t *object, struct arena *arena, struct fetch_layer *layer,
                        struct error *err)
{
        int r;
        json_t *links;
        size_t count;

        if (!json_is_object(object))
                return error_set(err, ERROR_INVALID_ARGUMENT, "result: layers: expected objects");
        if ((r = line_need_text(object, "diff_id", "layer", arena, &layer->diff_id, err)) < 0 ||
            (r = line_need_text(object, "digest", "layer", arena, &layer->digest, err)) < 0 ||
            (r = line_get_size(object, "size", "layer", &layer->size, err)) < 0 ||
            (r = line_get_text(object, "directory", "layer", arena, &layer->directory, err)) < 0 ||
            (r = line_get_size(object, "unpacked", "layer", &layer->unpacked, err)) < 0 ||
            (r = line_get_size(object, "entries", "layer", &layer->entries, err)) < 0 ||
            (r = line_get_paths(object, "opaque", "layer", arena, &layer->opaque,
                                &layer->opaque_count, err)) < 0 ||
            (r = line_get_paths(object, "implied", "layer", arena, &layer->implied,
                                &layer->implied_count, err)) < 0 ||
            (r = line_get_list(object, "links", "layer", LINKS_MAX, &links, &count, err)) < 0)
                return r;

        struct fetch_link *list = arena_array(arena, count + 1, sizeof(*list));
        for (size_t i = 0; i < count; i++) {
                const json_t *link = json_array_get(links, i);
                r = line_path_from_json(json_object_get(link, "path"), arena, &list[i].path, err);
                if (r == 0)
                        r = line_path_from_json(json_object_get(link, "target"), arena,
                                                &list[i].target, err);
                if (r < 0)
                        return error_context(err, "layer: links");
        }
        layer->links = list;
        layer->link_count = count;
        return 0;
}

static int decode_result(const json_t *object, struct arena *arena, struct fetch_result *result,
                         struct error *err)
{
        static const char place[] = "result";
        int r;
        json_t *layers;
        size_t count;

        if ((r = line_need_text(object, "manifest_digest", place, arena, &result->manifest_digest,
                                err)) < 0 ||
            (r = line_need_text(object, "manifest_media_type", place, arena,
                                &result->manifest_media_type, err)) < 0 ||
            (r = line_get_text(object, "index_digest", place, arena, &result->index_digest, err)) <
                    0 ||
            (r = line_need_text(object, "repo_digest", place, arena, &result->repo_digest, err)) <
                    0 ||
            (r = line_need_text(object, "config_digest", place, arena, &result->config_digest,
                                err)) < 0 ||
            (r = json_get_bool(object, "artifact", place, &result->artifact, err)) < 0 ||
            (r = line_get_size(object, "config_size", place, &result->config_size, err)) < 0 ||
            (r = line_get_size(object, "total_size", place, &result->total_size, err)) < 0 ||
            (r = line_get_list(object, "layers", place, LAYERS_MAX, &layers, &count, err)) < 0)
                return r;

        struct fetch_layer *list = arena_array(arena, count + 1, sizeof(*list));
        for (size_t i = 0; i < count; i++) {
                r = decode_layer(json_array_get(layers, i), arena, &list[i], err);
                if (r < 0)
                        return r;
        }
        result->layers = list;
        result->layer_count = count;
        return 0;
}

static int decode_found(const json_t *object, struct arena *arena, struct fetch_signatures *found,
                        struct error *err)
{
        static const char place[] = "signatures";
        int r;

        if ((r = line_need_text(object, "manifest_digest", place, arena, &found->manifest_digest,
                                err)) < 0 ||
            (r = line_get_text(object, "index_digest", place, arena, &found->index_digest, err)) <
                    0 ||
            (r = line_get_text(object, "media_type", place, arena, &found->media_type, err)) < 0 ||
            (r = line_get_size(object, "size", place, &found->size, err)) < 0)
                return r;
        if (!digest_is_valid(found->manifest_digest) ||
            (found->index_digest && !digest_is_valid(found->index_digest)))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: not a digest", place);
        return signatures_from_json(json_object_get(object, "list"), arena, &found->signatures,
                                    err);
}

static int decode_want(const json_t *object, struct arena *arena, struct fetch_want *want,
                       struct error *err)
{
        static const char place[] = "want";
        int r;

        if ((r = line_need_text(object, "diff_id", place, arena, &want->diff_id, err)) < 0 ||
            (r = line_need_text(object, "digest", place, arena, &want->digest, err)) < 0 ||
            (r = line_get_size(object, "size", place, &want->size, err)) < 0)
                return r;
        if (!digest_is_valid(want->diff_id) || !digest_is_valid(want->digest))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: not a digest", place);
        return 0;
}

/* One that is whole: it has a folder. */
static int decode_whole(const json_t *object, struct arena *arena, struct fetch_layer *layer,
                        struct error *err)
{
        int r = decode_layer(object, arena, layer, err);
        if (r < 0)
                return r;
        if (!digest_is_valid(layer->diff_id) || !layer->directory)
                return error_set(err, ERROR_INVALID_ARGUMENT, "layer: not a diff ID, or no folder");
        return 0;
}

static int decode_error(const json_t *object, struct error *told, struct error *err)
{
        static const char place[] = "error";
        int64_t code = ERROR_UNKNOWN;
        const char *word = "", *message = "";
        int r;

        if ((r = json_get_int(object, "code", place, &code, err)) < 0 ||
            (r = json_get_string(object, "word", place, &word, err)) < 0 ||
            (r = json_get_string(object, "message", place, &message, err)) < 0)
                return r;
        if (code <= ERROR_OK || code > ERROR_UNAUTHENTICATED)
                return error_set(err, ERROR_INVALID_ARGUMENT, "error: no such code");
        error_set(told, (enum error_code)code, "%s", message);
        if (word[0])
                error_word(told, word);
        return 0;
}

int reply_decode(const char *line, size_t length, struct arena *arena, struct fetch_reply *reply,
                 struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        struct fetch_reply decoded = {0};
        static const char place[] = "progress";

        int r = json_parse(line, length, "reply", &value, err);
        if (r < 0)
                return r;

        const json_t *object;
        if ((object = json_object_get(value, "progress"))) {
                decoded.kind = FETCH_PROGRESS;
                if ((r = line_need_text(object, "digest", place, arena, &decoded.progress.digest,
                                        err)) < 0 ||
                    (r = line_get_size(object, "bytes", place, &decoded.progress.bytes, err)) < 0 ||
                    (r = line_get_size(object, "total", place, &decoded.progress.total, err)) < 0)
                        return r;
                r = json_get_bool(object, "done", place, &decoded.progress.done, err);
        } else if ((object = json_object_get(value, "signatures"))) {
                decoded.kind = FETCH_SIGNATURES;
                r = decode_found(object, arena, &decoded.found, err);
        } else if ((object = json_object_get(value, "want"))) {
                decoded.kind = FETCH_WANT;
                r = decode_want(object, arena, &decoded.want, err);
        } else if ((object = json_object_get(value, "layer"))) {
                decoded.kind = FETCH_LAYER;
                r = decode_whole(object, arena, &decoded.layer, err);
        } else if ((object = json_object_get(value, "result"))) {
                decoded.kind = FETCH_RESULT;
                r = decode_result(object, arena, &decoded.result, err);
        } else if ((object = json_object_get(value, "error"))) {
                decoded.kind = FETCH_ERROR;
                r = decode_error(object, &decoded.error, err);
        } else {
                r = error_set(err, ERROR_INVALID_ARGUMENT,
                              "reply: neither progress, result nor error");
        }
        if (r == 0)
                *reply = decoded;
        return r;
}

/* ---- answers ---- */

static const char *const VERDICTS[] = {
        [FETCH_ANSWER_WAIT] = "wait",
        [FETCH_ANSWER_FETCH] = "fetch",
        [FETCH_ANSWER_PRESENT] = "present",
};

char *answer_encode(const char *diff_id, enum fetch_verdict verdict)
{
        AUTO_JSON json_t *line = json_object();
        line_put_string(line, "layer", diff_id);
        line_put_string(line, "answer", VERDICTS[verdict]);
        return line_finish(line);
}

int answer_decode(const char *line, size_t length, struct arena *arena, const char **diff_id,
                  enum fetch_verdict *verdict, struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        const char *word = "";
        int r = json_parse(line, length, "answer", &value, err);
        if (r == 0)
                r = line_need_text(value, "layer", "answer", arena, diff_id, err);
        if (r == 0)
                r = line_need_text(value, "answer", "answer", arena, &word, err);
        if (r < 0)
                return r;
        for (int i = FETCH_ANSWER_WAIT; i <= FETCH_ANSWER_PRESENT; i++)
                if (strcmp(word, VERDICTS[i]) == 0) {
                        *verdict = (enum fetch_verdict)i;
                        return 0;
                }
        return error_set(err, ERROR_INVALID_ARGUMENT, "answer: no such word");
}
