/*
 * record: what is kept of a pod or container on disk.
 *
 * FOLDER/ID/config.pb is the request that made it, FOLDER/ID/record.json what became of it. A
 * record appears whole and goes whole: it is made and removed under another name.
 *
 * The intent is for a daemon that is killed: it is written before anything is done, and not synced,
 * as nothing that was done by then outlives the machine. What a client is told of is synced first.
 *
 * Functions that touch the disk wait, and are for tasks, but for those that load and list, which
 * block and are for the start.
 */
#ifndef CRISP_CRI_RECORD_H
#define CRISP_CRI_RECORD_H

#include <jansson.h>
#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/error.h"

#define RECORD_VERSION 1

/* Makes FOLDER/ID with both files, not synced. record is borrowed and gets "version". */
int record_create(const char *folder, const char *id, const ProtobufCMessage *request,
                  json_t *record, struct error *err);

/* Replaces record.json as a whole; durable: it is synced, with the request and the folders. */
int record_replace(const char *folder, const char *id, json_t *record, bool durable,
                   struct error *err);

/* Removes FOLDER/ID with everything in it. Not there is fine. */
int record_remove(const char *folder, const char *id, struct error *err);

/*
 * Reads both files. *request is unpacked into the arena. Errors: NOT_FOUND also for an intent that
 * a power cut left empty, DATA_LOSS for what cannot be understood, also a version that is newer
 * than ours.
 */
int record_load(const char *folder, const char *id, const ProtobufCMessageDescriptor *descriptor,
                struct arena *arena, ProtobufCMessage **request, json_t **record,
                struct error *err);

/* Reads FOLDER/ID/record.json alone. Errors as above. */
int record_load_state(const char *folder, const char *id, json_t **record, struct error *err);

/* The ids of all records in a folder (strv_free), and in *leftovers the names of what a crash left
 * half made. */
int record_list(const char *folder, char ***ids, char ***leftovers, struct error *err);

/* Moves a record that cannot be read to FOLDER/aside-ID, with the reason in a file "reason".
 * Blocks; for the start. */
void record_set_aside(const char *folder, const char *id, const struct error *reason);

/* Memory for protobuf-c that an arena owns. */
void record_arena_allocator(struct arena *arena, ProtobufCAllocator *allocator);

/* A copy of message in the arena. */
ProtobufCMessage *record_copy_message(struct arena *arena, const ProtobufCMessage *message);

/* Whether two messages of one type say the same. Maps are compared in any order. */
bool record_same_message(const ProtobufCMessage *a, const ProtobufCMessage *b);

#endif
