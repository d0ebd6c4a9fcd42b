/*
 * platform: which machine an image is for, and whether that is this one.
 *
 * Names are Go's, as the OCI specification has them. Pure but for asking the processor; any thread.
 */
#ifndef CRISP_IMAGE_FETCH_PLATFORM_H
#define CRISP_IMAGE_FETCH_PLATFORM_H

struct platform {
        const char *os;
        const char *architecture;
        const char *variant; /* or empty */
};

/*
 * Completes a platform: missing members are this machine's, names are as Go and OCI have them
 * (x86_64 is amd64, aarch64 is arm64). Where no architecture is asked for the variant is what the
 * processor can: arm's v6 or v7, amd64's v1 to v4; else arm's is v7. arm64's is v8.
 */
struct platform platform_complete(const char *os, const char *architecture, const char *variant);

/*
 * How well what is offered fits: 0 not at all, more is better. A processor runs what was made for
 * an older variant, the newest being the best; last come 386 on amd64 and arm on arm64, and before
 * nothing what says no platform. The version of the operating system does not count on Linux.
 */
int platform_fitness(const struct platform *wanted, const struct platform *offered);

#endif
