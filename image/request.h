/*
 * request: what the daemon and crisp-image say to each other.
 *
 * The daemon starts crisp-image for one pull, with pipes for stdin and stdout.
 *
 * stdin: the request as one line of JSON, ended by a newline; secrets come this way so that no
 * argument list or environment shows them. The pipe then stays open, for answers. A pull is
 * cancelled with SIGKILL; the end of the file means that the daemon is gone: crisp-image then goes
 * on with the layers of the image (for FETCH_DETACHED_TIME at most), or ends where it has not come
 * to them yet. The next daemon takes over what is whole.
 *
 * Where the request wants signatures, crisp-image tells what it found before it fetches a layer,
 * and waits for a newline on stdin: the daemon has them verified elsewhere, and kills it where they
 * do not hold.
 *
 * Before it fetches a layer it asks (FETCH_WANT), and fetches it when told to: somebody else may be
 * fetching the same layer. Answers are lines of JSON, each about one layer. After FETCH_ANSWER_WAIT
 * another answer follows at any time; crisp-image goes on with other layers until then.
 *
 * stdout: lines of JSON, each a reply: any number of progress reports, questions and whole layers,
 * then exactly one result or one error, then the end of the file. Exit status 0 follows a result, 1
 * an error; anything else, or an end without either, is a crash. stderr: log lines of base/log.
 *
 * The staging folder belongs to the daemon: it makes it (empty, mode 0700, on the store's file
 * system) and removes what is left of it, whatever the outcome. crisp-image writes below it:
 *
 *     manifest.json     the image manifest, byte for byte as its digest says
 *     config.json       the image's configuration, likewise
 *     index.json        the index or manifest list, if the name led to one
 *     layers/NAME/      each layer's tree, in the form of an overlayfs layer; NAME is random and
 * fresh
 *     layers/NAME.json  once the layer is whole: a FETCH_LAYER reply with all that is to be known
 *     tars/NAME         by what the layer's tar stream can be made again; not there where it cannot
 *
 * Before a result is reported everything below staging is synced (syncfs), so that renames may
 * follow at once.
 *
 * These functions do not block; any thread. Decoded strings live in the arena.
 */
#ifndef CRISP_IMAGE_REQUEST_H
#define CRISP_IMAGE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "image/signature.h"

#define REQUEST_LINE_MAX (4u << 20) /* bytes of the request with its newline */
#define REPLY_LINE_MAX                                                                             \
        (32u << 20) /* bytes of a reply with its newline: what the daemon must be ready to read */

#define REQUEST_ENDPOINTS_MAX 32
#define REQUEST_FILES_MAX     64    /* certificates or headers of an endpoint */
#define REQUEST_PRESENT_MAX   16384 /* diff IDs that the store has */

/* ---- the request ---- */

/* Null where not given; the meanings are those of CRI's AuthConfig. */
struct fetch_credentials {
        const char *username;
        const char *password;
        const char *auth;           /* base64 of username:password */
        const char *identity_token; /* an OAuth2 refresh token */
        const char *registry_token; /* a bearer token for the registry itself */
        const char *server_address; /* the registry they are for; null: the reference's. The daemon
                                       decides by it who gets them; crisp-image is not told */
};

/* A place that may have the image. Strings are null and lists empty where nothing is said. */
struct fetch_endpoint {
        const char *url; /* "https://mirror.example:5000" or with a path that goes between /v2/ and
                            the repository */
        const char *repository; /* in place of the reference's; null: the same */
        bool insecure;          /* accept any certificate */
        bool exact_path;        /* the URL's path stands as it is, with no /v2 before it */
        bool digests_only;      /* is not asked what a tag stands for */
        const char *ns; /* sent as the query parameter of this name: which registry a mirror is
                           asked for */
        const char *const *authorities; /* files of PEM certificates, beside the machine's own */
        size_t authority_count;
        const char *certificate;    /* file with the client's own certificate */
        const char *key;            /* file with its key; null: in the same file */
        const char *const *headers; /* "Name: value", sent to this origin alone */
        size_t header_count;
        int64_t connect_timeout;              /* ms; 0: that of the limits */
        struct fetch_credentials credentials; /* its own, or none; no other endpoint gets them */
};

/* Bounds; 0 stands for the default (FETCH_... in image/fetch/limits.h). Sizes in bytes, times in
 * milliseconds. */
struct fetch_limits {
        int64_t layer_bytes;     /* compressed bytes of one layer */
        int64_t unpacked_bytes;  /* bytes of one layer's tar stream */
        int64_t entries;         /* files, folders, links and so on in one layer */
        int64_t parallel_layers; /* layers under way at once */
        int64_t connect_timeout; /* to reach an endpoint */
        int64_t stall_timeout;   /* without a byte from the registry */
        int64_t retries;         /* further tries of one request after a passing failure */
        int64_t retry_delay_max; /* longest wait before a retry, whatever Retry-After says */
        int64_t min_rate;        /* bytes a second, over each window of the stall timeout */
        int64_t disk_reserve;    /* bytes of the file system that stay free, a twentieth of it
                                    at most; 0: none */
};

struct fetch_request {
        const char *reference; /* an image's name; it need not be normalized */
        const struct fetch_endpoint
                *endpoints; /* tried in this order; the registry itself is one */
        size_t endpoint_count;
        const char *os; /* null: the platform of this machine. So are the next two */
        const char *architecture;
        const char *variant;
        const char *const *present; /* diff IDs of layers that need not come, or null */
        size_t present_count;
        const char *staging;         /* absolute path */
        const char *decryption_keys; /* folder of private keys for encrypted layers, or null */
        struct fetch_limits limits;
        bool wants_signatures;
        const char *lookaside; /* https:// or http:// URL of simple signatures, up to the digest; or
                                  null */
        bool attachments;      /* sigstore's are looked for in the image's repository */
};

/* The line with its newline, on the heap; wipe it with request_wipe_text before freeing it. */
char *request_encode(const struct fetch_request *request);

/* line is without or with its newline. INVALID_ARGUMENT names the member that is wrong. */
int request_decode(const char *line, size_t length, struct arena *arena,
                   struct fetch_request *request, struct error *err);

/* Overwrites the credentials' bytes, which must be the request's own (decoded), and forgets them.
 */
void request_wipe(struct fetch_request *request);
/* Overwrites a string; null is allowed. */
void request_wipe_text(char *text);

/* ---- replies ---- */

enum fetch_reply_kind {
        FETCH_PROGRESS = 1,
        FETCH_SIGNATURES,
        FETCH_WANT,
        FETCH_LAYER,
        FETCH_RESULT,
        FETCH_ERROR
};

/* A layer that is to be fetched next. */
struct fetch_want {
        const char *diff_id;
        const char *digest; /* of the compressed bytes */
        int64_t size;       /* compressed bytes */
};

struct fetch_progress {
        const char *digest; /* of the compressed layer */
        int64_t bytes;      /* compressed bytes that came so far */
        int64_t total;      /* as the manifest says */
        bool done;          /* whole, checked and unpacked */
};

/* A hard link whose target is not in the same layer. Neither path has a leading slash. The link was
 * not made. */
struct fetch_link {
        const char *path;
        const char *target;
};

struct fetch_layer {
        const char *diff_id;
        const char *digest; /* of the compressed bytes */
        int64_t size;       /* compressed bytes */
        /*
         * Name of its folder below staging/layers; null where the request said that the store has
         * it, and for every layer after the first with the same diff ID. Then what follows is
         * empty.
         */
        const char *directory;
        int64_t unpacked; /* bytes of the tar stream */
        int64_t entries;
        /* Paths relative to the layer's root, without leading slash; "." is the root itself. */
        const char *const *opaque; /* folders that hide what lower layers have in them: to be marked
                                      trusted.overlay.opaque */
        size_t opaque_count;
        const char *const
                *implied; /* folders that the layer has no entry for: made root:root 0755 */
        size_t implied_count;
        const struct fetch_link *links;
        size_t link_count;
};

struct fetch_result {
        const char *manifest_digest; /* of the image manifest, for this platform */
        const char *manifest_media_type;
        const char *index_digest; /* of the index or list that led to it, or null */
        const char
                *repo_digest; /* what the name resolved to: index_digest or else manifest_digest */
        bool artifact; /* no container image: one layer, keyed by the manifest's digest, which is
                          also the ID; config.json is the manifest once more */
        const char *config_digest; /* the image's ID */
        int64_t config_size;
        int64_t total_size; /* bytes of manifest, configuration and compressed layers */
        const struct fetch_layer *layers; /* the lowest first */
        size_t layer_count;
};

/* What was signed about the image that the name stands for. */
struct fetch_signatures {
        const char *manifest_digest;
        const char *index_digest; /* or null */
        /* Of the index, or where there is none of the manifest: */
        const char *media_type; /* or null */
        int64_t size;           /* bytes */
        struct signatures signatures;
};

struct fetch_reply {
        enum fetch_reply_kind kind;
        struct fetch_progress progress;
        struct fetch_want want;
        struct fetch_layer layer; /* whole. On stdout without its lists */
        struct fetch_signatures found;
        struct fetch_result result;
        struct error error; /* code, word, message */
};

/* The line with its newline, on the heap. */
char *reply_encode(const struct fetch_reply *reply);

int reply_decode(const char *line, size_t length, struct arena *arena, struct fetch_reply *reply,
                 struct error *err);

/* ---- answers ---- */

#define ANSWER_LINE_MAX 1024

enum fetch_verdict {
        FETCH_ANSWER_NONE, /* is none: nothing was said yet */
        FETCH_ANSWER_WAIT, /* somebody else fetches it */
        FETCH_ANSWER_FETCH,
        FETCH_ANSWER_PRESENT, /* the store has it by now: it is left to show that the registry would
                                 give it for these credentials */
};

/* The line with its newline, on the heap. */
char *answer_encode(const char *diff_id, enum fetch_verdict verdict);
int answer_decode(const char *line, size_t length, struct arena *arena, const char **diff_id,
                  enum fetch_verdict *verdict, struct error *err);

#endif
