#include "image/fetch/platform.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/utsname.h>
#ifdef __x86_64__
#include <sys/platform/x86.h>
#endif

#define FIT_UNSAID  1   /* an index of one kind of machine may leave the platform out */
#define FIT_RELATED 10  /* and the variant: the older instruction set of the same processor */
#define FIT_OWN     100 /* and the variant */
#define FIT_EXACT   200 /* a variant without an order */

static const struct {
        const char *said, *architecture, *variant;
} NAMES[] = {
        {"x86_64", "amd64", ""}, {"x86-64", "amd64", ""}, {"aarch64", "arm64", ""},
        {"armv6l", "arm", "v6"}, {"armv7l", "arm", "v7"}, {"armv8l", "arm", "v8"},
        {"armhf", "arm", "v7"},  {"armel", "arm", "v6"},  {"i386", "386", ""},
        {"i486", "386", ""},     {"i586", "386", ""},     {"i686", "386", ""},
};
#define NAME_COUNT (sizeof(NAMES) / sizeof(NAMES[0]))

static const char *plain_architecture(const char *said)
{
        for (size_t i = 0; i < NAME_COUNT; i++)
                if (strcmp(said, NAMES[i].said) == 0)
                        return NAMES[i].architecture;
        return said;
}

/* What a name says of the variant, or empty. */
static const char *implied_variant(const char *said)
{
        for (size_t i = 0; i < NAME_COUNT; i++)
                if (strcmp(said, NAMES[i].said) == 0)
                        return NAMES[i].variant;
        return "";
}

static const char *machine(void)
{
        static _Thread_local struct utsname name;

        return uname(&name) < 0 ? "" : name.machine;
}

#ifdef __x86_64__
#define REGISTER_BITS 32
#define LEAF_BITS     (4 * REGISTER_BITS)

/* glibc's own macro shifts ones into the sign. */
static bool has_feature(unsigned index)
{
        const struct cpuid_feature *leaf = __x86_get_cpuid_feature_leaf(index / LEAF_BITS);
        unsigned word = leaf->active_array[index % LEAF_BITS / REGISTER_BITS];
        return word >> (index % REGISTER_BITS) & 1;
}
#endif

/* The processor's level of the x86-64 psABI. */
static const char *processor_level(void)
{
#ifdef __x86_64__
#define HAS(feature) has_feature(x86_cpu_##feature)
        if (!(HAS(CMPXCHG16B) && HAS(LAHF64_SAHF64) && HAS(POPCNT) && HAS(SSE3) && HAS(SSSE3) &&
              HAS(SSE4_1) && HAS(SSE4_2)))
                return "v1";
        if (!(HAS(AVX) && HAS(AVX2) && HAS(BMI1) && HAS(BMI2) && HAS(F16C) && HAS(FMA) &&
              HAS(LZCNT) && HAS(MOVBE)))
                return "v2";
        if (!(HAS(AVX512F) && HAS(AVX512BW) && HAS(AVX512CD) && HAS(AVX512DQ) && HAS(AVX512VL)))
                return "v3";
        return "v4";
#undef HAS
#else
        return "";
#endif
}

struct platform platform_complete(const char *os, const char *architecture, const char *variant)
{
        bool ours = !architecture || !architecture[0];
        const char *said = ours ? machine() : architecture;
        struct platform platform = {
                .os = os && os[0] ? os : "linux",
                .architecture = plain_architecture(said),
                .variant = variant && variant[0] ? variant : implied_variant(said),
        };
        if (platform.variant[0])
                return platform;
        if (strcmp(platform.architecture, "arm") == 0)
                platform.variant = "v7";
        else if (strcmp(platform.architecture, "arm64") == 0)
                platform.variant = "v8";
        else if (ours && strcmp(platform.architecture, "amd64") == 0)
                platform.variant = processor_level();
        return platform;
}

/* The number of a variant vN; what an architecture's plain name stands for where there is none. -1
 * for other text. */
static int variant_number(const char *architecture, const char *variant)
{
        if (!variant[0]) {
                if (strcmp(architecture, "arm64") == 0)
                        return 8;
                return strcmp(architecture, "arm") == 0 ? 7 : 1;
        }
        if (variant[0] == 'v' && variant[1] >= '1' && variant[1] <= '9' && !variant[2])
                return variant[1] - '0';
        return -1;
}

/* The other instruction set that processors of an architecture run. */
static int related_fitness(const char *wanted, const char *offered, const char *variant)
{
        if (strcmp(wanted, "amd64") == 0 && strcmp(offered, "386") == 0)
                return FIT_RELATED;
        if (strcmp(wanted, "arm64") == 0 && strcmp(offered, "arm") == 0) {
                int number = variant_number(offered, variant);
                return number > 0 && number <= 8 ? FIT_RELATED + number : 0;
        }
        return 0;
}

int platform_fitness(const struct platform *wanted, const struct platform *offered)
{
        if (!offered->os[0] && !offered->architecture[0])
                return FIT_UNSAID;
        const char *architecture = plain_architecture(offered->architecture);
        const char *said =
                offered->variant[0] ? offered->variant : implied_variant(offered->architecture);
        if (strcmp(wanted->os, offered->os) != 0)
                return 0;
        if (strcmp(wanted->architecture, architecture) != 0)
                return related_fitness(wanted->architecture, architecture, said);
        int most = variant_number(architecture, wanted->variant);
        int variant = variant_number(architecture, said);
        if (variant < 0 || most < 0)
                return strcmp(wanted->variant, said) == 0 ? FIT_EXACT : 0;
        return variant <= most ? FIT_OWN + variant : 0;
}
