/*
 * limits: every number that bounds what a registry may make crisp-image do.
 *
 * Those with a member in struct fetch_limits are defaults; the request may change them.
 */
#ifndef CRISP_IMAGE_FETCH_LIMITS_H
#define CRISP_IMAGE_FETCH_LIMITS_H

/* Defaults of struct fetch_limits. */
#define FETCH_LAYER_BYTES     (INT64_C(16) << 30)
#define FETCH_UNPACKED_BYTES  (INT64_C(64) << 30)
#define FETCH_ENTRIES         INT64_C(2000000)
#define FETCH_PARALLEL_LAYERS 3
#define FETCH_CONNECT_TIMEOUT 15000 /* ms */
#define FETCH_STALL_TIMEOUT   30000 /* ms */
#define FETCH_RETRIES         4
#define FETCH_RETRY_DELAY_MAX 20000 /* ms */
#define FETCH_MIN_RATE        1024  /* bytes a second, over each window of the stall timeout */

/* What no request changes. */
#define FETCH_PARALLEL_MAX      16
#define FETCH_DOCUMENT_MAX      (4u << 20) /* bytes of a manifest, an index or a configuration */
#define FETCH_LAYERS_MAX        500        /* as many as overlayfs stacks */
#define FETCH_INDEX_ENTRIES_MAX 1024
#define FETCH_ANNOTATIONS_MAX   256  /* of one descriptor */
#define FETCH_URLS_MAX          8    /* of one descriptor */
#define FETCH_URL_MAX           2048 /* bytes */
#define FETCH_INDEX_DEPTH_MAX   2    /* indexes inside an index */
#define FETCH_TOKEN_REPLY_MAX   (256u << 10)
#define FETCH_TOKEN_MAX         (64u << 10)
#define FETCH_PROBLEM_MAX       (16u << 10) /* bytes read of a refusal's body */
#define FETCH_HEADERS_MAX       (256u << 10)
#define FETCH_REDIRECTS_MAX     5
#define FETCH_DETACHED_TIME     (30 * 60 * INT64_C(1000)) /* ms without a daemon */
#define FETCH_RING_SIZE         (1u << 20)
#define FETCH_PATH_MAX          4096 /* bytes of a path in a layer; PATH_MAX with its zero */
#define FETCH_DEPTH_MAX                                                                            \
        200 /* folders inside each other; who removes a tree holds descriptors for each */
#define FETCH_XATTR_VALUE_MAX  65536       /* XATTR_SIZE_MAX */
#define FETCH_XATTRS_MAX       128         /* of one file */
#define FETCH_FOLDER_BYTES_MAX (64u << 20) /* of the folders' names that one layer has */
#define FETCH_NOTES_BYTES_MAX                                                                      \
        (8u << 20)                /* of opaque and implied folders and links, of a whole image */
#define FETCH_TRANSFER_TRIES   10 /* resumptions of one blob that makes progress */
#define FETCH_RANGES_LAYER_MIN (INT64_C(32) << 20) /* bytes of a layer fetched in ranges */
#define FETCH_RANGE_SIZE       (2u << 20)
#define FETCH_RANGE_ALONE                                                                          \
        (INT64_C(16) << 20)      /* bytes asked for at once by a connection that is alone with it */
#define FETCH_RANGES_MAX      10 /* kept in memory until their turn comes, of a whole pull */
#define FETCH_ZSTD_WINDOW_LOG 29 /* 512 MiB: what other runtimes' decompressor accepts */
/*
 * Of zstd's windows and of parts that wait for their turn, bytes of a whole pull; a window that is
 * larger has it alone, and is no memory of ours (window.h): crisp-image stays below 64 MB.
 */
#define FETCH_MEMORY_BYTES (34u << 20)
#define FETCH_THREAD_STACK (512u << 10)

#endif
