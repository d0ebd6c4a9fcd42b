#include "cri/status_text.h"

#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "cri/lookup.h"

void *status_text_entry(struct arena *arena, const ProtobufCMessageDescriptor *descriptor,
                        const char *key, const json_t *value)
{
        AUTO_FREE char *text = json_text(value);
        struct lookup_entry *entry = arena_alloc(arena, descriptor->sizeof_message);
        descriptor->message_init((ProtobufCMessage *)entry);
        entry->key = arena_strdup(arena, key);
        entry->value = arena_strdup(arena, text);
        return entry;
}

void *status_text_info(struct arena *arena, const ProtobufCMessageDescriptor *descriptor,
                       const json_t *info)
{
        struct lookup_entry **entries = arena_array(arena, 1, sizeof *entries);
        entries[0] = status_text_entry(arena, descriptor, "info", info);
        return entries;
}

void status_text_add_step(json_t *info, const char *step, int64_t since)
{
        if (!step)
                return;
        char text[40];
        time_t seconds = (time_t)(since / NSEC_PER_SEC);
        struct tm parts;
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &parts));
        json_object_set_new(info, "step", json_string(step));
        json_object_set_new(info, "stepSince", json_string(text));
}
