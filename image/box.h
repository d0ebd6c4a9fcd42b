/*
 * box: what crisp-image is started with, so that it can shut itself in (fetch/confine.h).
 */
#ifndef CRISP_IMAGE_BOX_H
#define CRISP_IMAGE_BOX_H

#include <sched.h>

/* Sanitizers read /proc, and find their own process there by its number. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
        __has_feature(memory_sanitizer)
#define BOX_SANITIZED 1
#endif
#endif
#ifndef BOX_SANITIZED
#define BOX_SANITIZED 0
#endif

/* struct process_options, namespaces: it is the first process of one, which ends with it. The other
 * namespaces it enters by itself. */
#define BOX_NAMESPACES (BOX_SANITIZED ? 0 : CLONE_NEWPID)

#endif
