/*
 * toml: reading TOML 1.0.
 *
 * A document becomes a jansson tree and, beside it, a tree of nodes that know the line of every
 * value, so that whoever interprets the document can name the place. All of TOML 1.0.0 is read;
 * what JSON has not becomes a string: dates and times as they were written, inf and nan as "inf",
 * "-inf" and "nan". The node's kind tells them from strings.
 *
 * Any thread; a document belongs to one thread at a time.
 */
#ifndef CRISP_BASE_TOML_H
#define CRISP_BASE_TOML_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/error.h"

#define TOML_SIZE_MAX  (1024 * 1024) /* bytes of a document */
#define TOML_DEPTH_MAX 32 /* tables and arrays inside each other, parts of dotted keys included */

enum toml_kind {
        TOML_STRING,
        TOML_INTEGER,
        TOML_FLOAT,
        TOML_BOOLEAN,
        TOML_OFFSET_DATETIME,
        TOML_LOCAL_DATETIME,
        TOML_LOCAL_DATE,
        TOML_LOCAL_TIME,
        TOML_ARRAY,
        TOML_TABLE,
};

struct toml_node {
        enum toml_kind kind;
        unsigned line;     /* where the value, or the header of the table, first stands; from 1 */
        const char *key;   /* null in arrays and for the root */
        size_t key_length; /* a key may hold zero bytes: then this is more than strlen(key) */
        json_t *value;     /* borrowed from the tree */
        struct toml_node *parent;       /* null for the root */
        struct toml_node *first, *last; /* members or items, in the order of the document */
        struct toml_node *next;         /* of the same parent */

        /* the rest is toml.c's own */
        unsigned id;
        unsigned depth;
        bool header; /* defined by a header: no second one may do so */
        bool dotted; /* defined by a dotted key: no header may do so */
        bool closed; /* written inline: nothing may be added */
        bool tables; /* an array of tables, which headers may add to */
};

struct toml {
        json_t *tree;           /* an object */
        struct toml_node *root; /* its node */
        struct arena *arena;    /* owns all nodes and keys */
};

/*
 * Reads a document of length bytes; file is its name for errors. The caller gives *document back
 * with toml_free. What is wrong is INVALID_ARGUMENT "FILE:LINE: ...".
 */
int toml_parse(const char *bytes, size_t length, const char *file, struct toml **document,
               struct error *err);

/* The same from a file. Blocks on the disk. */
int toml_load(const char *path, struct toml **document, struct error *err);

void toml_free(struct toml *document); /* null is allowed */

/* The member of a table that has this key, or null. */
const struct toml_node *toml_member(const struct toml_node *table, const char *key);

/* Adds the node's dotted key ("runtime.handlers.runc.path"), quoted where it needs quotes; nothing
 * for the root. */
void toml_add_path(struct buffer *out, const struct toml_node *node);

/* Adds text, which is UTF-8, as a basic string with its quotes. */
void toml_add_string(struct buffer *out, const char *text);

/* The name of a kind for people, with its article ("a string"). */
const char *toml_kind_name(enum toml_kind kind);

static inline void cleanup_toml(struct toml **document)
{
        toml_free(*document);
}
#define AUTO_TOML CLEANUP(cleanup_toml)

#endif
