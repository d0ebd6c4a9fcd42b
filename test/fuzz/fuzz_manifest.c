/*
 * Any bytes as each of the documents that a registry or token server sends: manifest, index,
 * configuration, challenge, refusal; and as lines of the pull protocol.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "image/fetch/challenge.h"
#include "image/fetch/limits.h"
#include "image/fetch/manifest.h"
#include "image/fetch/refusal.h"
#include "image/reference.h"
#include "image/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_manifest(const char *text, size_t size, struct arena *arena)
{
        struct manifest manifest;
        struct platform platform = platform_complete(NULL, NULL, NULL);
        const struct descriptor *entry;

        if (manifest_parse(text, size, "", arena, &manifest, NULL) < 0)
                return;
        assert(manifest.count <= FETCH_INDEX_ENTRIES_MAX);
        for (size_t i = 0; i < manifest.count; i++) {
                assert(digest_is_valid(manifest.entries[i].digest));
                assert(manifest.entries[i].size >= 0);
        }
        if (!manifest.is_index)
                assert(digest_is_valid(manifest.config.digest));
        else if (manifest_select(&manifest, &platform, &entry, NULL) == 0)
                assert(entry >= manifest.entries && entry < manifest.entries + manifest.count);
}

static void try_config(const char *text, size_t size, struct arena *arena)
{
        struct manifest_config config;

        if (manifest_config_parse(text, size, arena, &config, NULL) < 0)
                return;
        for (size_t i = 0; i < config.count; i++)
                assert(digest_is_valid(config.diff_ids[i]));
}

static void try_texts(const char *text, size_t size)
{
        AUTO_FREE char *lines = xstrndup(text, size);
        AUTO_HTTP_CALL struct http_call call = {.status = 401};
        const char *const secrets[] = {"secret", NULL};
        struct challenge challenge;
        char refusal[REFUSAL_TEXT_MAX];

        challenge_parse(lines, &challenge);
        buffer_add(&call.problem, text, size);
        refusal_text(&call, secrets, refusal);
        assert(!strstr(refusal, "secret"));
        for (const char *c = refusal; *c; c++)
                assert(*c >= 0x20 && *c < 0x7f);
}

static void try_lines(const char *text, size_t size, struct arena *arena)
{
        struct fetch_request request;
        struct fetch_reply reply, again;

        if (request_decode(text, size, arena, &request, NULL) == 0)
                request_wipe(&request);
        if (reply_decode(text, size, arena, &reply, NULL) < 0)
                return;
        AUTO_FREE char *line = reply_encode(&reply);
        assert(reply_decode(line, strlen(line), arena, &again, NULL) == 0);
        assert(again.kind == reply.kind);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_ARENA struct arena *arena = arena_new();
        const char *text = (const char *)data;

        if (size > FETCH_DOCUMENT_MAX)
                return 0;
        try_manifest(text, size, arena);
        try_config(text, size, arena);
        try_texts(text, size);
        try_lines(text, size, arena);
        return 0;
}
