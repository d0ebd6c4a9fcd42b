/*
 * error: what went wrong, told once and understood by the one who reads it.
 *
 * A function that can fail takes a struct error * as its last argument and returns 0 or a negative
 * errno. The object lives on the caller's stack, owns nothing and needs no release. It holds a gRPC
 * status code and one sentence, which grows a context at each level where context helps:
 *
 *     pull busybox:1: layer 2 of 3: registry.example: 503 Service Unavailable
 *
 * All functions here may be called from any thread and never block. A null err is allowed
 * everywhere: then only the return value tells.
 */
#ifndef CRISP_BASE_ERROR_H
#define CRISP_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#define ERROR_MESSAGE_MAX 2048 /* bytes with the final zero; what is longer ends in "..." */
#define ERROR_WORD_MAX    40

/* Numbers of google.rpc.Code, which gRPC sends as they are. */
enum error_code {
        ERROR_OK = 0,
        ERROR_CANCELLED = 1,
        ERROR_UNKNOWN = 2,
        ERROR_INVALID_ARGUMENT = 3,
        ERROR_DEADLINE_EXCEEDED = 4,
        ERROR_NOT_FOUND = 5,
        ERROR_ALREADY_EXISTS = 6,
        ERROR_PERMISSION_DENIED = 7,
        ERROR_RESOURCE_EXHAUSTED = 8,
        ERROR_FAILED_PRECONDITION = 9,
        ERROR_ABORTED = 10,
        ERROR_OUT_OF_RANGE = 11,
        ERROR_UNIMPLEMENTED = 12,
        ERROR_INTERNAL = 13,
        ERROR_UNAVAILABLE = 14,
        ERROR_DATA_LOSS = 15,
        ERROR_UNAUTHENTICATED = 16,
};

struct error {
        enum error_code code;
        int number;                      /* negative errno, what the failing function returned */
        char word[ERROR_WORD_MAX];       /* "RegistryUnavailable" and the like, or empty */
        char message[ERROR_MESSAGE_MAX]; /* without the word */
};

/* Fills err with this code and message; returns the negative errno that belongs to the code. */
int error_set(struct error *err, enum error_code code, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* The same with a list of arguments. */
int error_vset(struct error *err, enum error_code code, const char *format, va_list arguments)
        __attribute__((format(printf, 3, 0)));

/*
 * Fills err from errno's value number (positive or negative), with ": " and its text after the
 * message. Returns the number, negative. The code follows from the number: ENOENT gives NOT_FOUND,
 * ENOSPC RESOURCE_EXHAUSTED, ETIMEDOUT DEADLINE_EXCEEDED, ECANCELED CANCELLED, most others
 * INTERNAL.
 */
int error_errno(struct error *err, int number, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the message of a filled err. Returns err's number (or -EIO where err is
 * null). */
int error_context(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Marks a filled err with a word that a client matches on ("SignatureValidationFailed"). Its code
 * becomes UNKNOWN, as the kubelet expects, and the word stays first whatever context is added.
 * Returns err's number.
 */
int error_word(struct error *err, const char *word);

/* Writes "Word: message", or the message alone, into out, cut at size. Of URLs in it the query and
 * what stands before the host are shown as "...": signed ones have their secrets there. */
void error_render(const struct error *err, char *out, unsigned long size);

/* The code that fits an errno value, positive or negative. */
enum error_code error_code_of(int number);

/* The name of a code as gRPC spells it ("NOT_FOUND"). */
const char *error_code_name(enum error_code code);

#endif
