/* Limits of block I/O, as a container's cgroup has them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "oci/verify_private.h"

/* The rest of the line of this device, "8:0 ..."; null where there is none. */
static const char *device_line(const char *text, const char *device)
{
        size_t length = strlen(device);
        for (const char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, device, length) == 0 && line[length] == ' ')
                        return line + length + 1;
        }
        return NULL;
}

/* "rbps=1048576 wbps=max ..." of v2; 0 where it is not there, or has no limit. */
static uint64_t value_of(const char *line, const char *key)
{
        size_t length = strlen(key);
        for (const char *word = line; word && *word && *word != '\n';) {
                if (strncmp(word, key, length) == 0 && word[length] == '=')
                        return strtoull(word + length + 1, NULL, 10);
                word += strcspn(word, " \n");
                word += *word == ' ';
        }
        return 0;
}

struct limit {
        const char *list, *what, *v1, *v2;
};

static void check_device(const struct verify *verify, const struct limit *limit,
                         const json_t *entry)
{
        bool v2 = verify->mode == CGROUP_MODE_V2;
        AUTO_FREE char *device =
                xprintf("%lld:%lld", (long long)json_integer_value(json_object_get(entry, "major")),
                        (long long)json_integer_value(json_object_get(entry, "minor")));
        AUTO_FREE char *what = xprintf("%s of %s", limit->what, device);
        const char *file = v2 ? "io.max" : limit->v1, *text = verify_limit_text(verify, file);
        const char *line = text ? device_line(text, device) : NULL;
        uint64_t wanted = (uint64_t)json_integer_value(json_object_get(entry, "rate"));
        uint64_t found = v2 ? value_of(line, limit->v2) : line ? strtoull(line, NULL, 10) : 0;
        if (!text)
                verify_say(verify, VERIFY_WARNING, what, "the kernel has no %s to compare", file);
        else if (found == wanted)
                verify_say(verify, VERIFY_PASS, what, "%s: %" PRIu64, file, found);
        else if (!found)
                verify_say(verify, VERIFY_FAIL, what, "%s: no limit, and should be %" PRIu64, file,
                           wanted);
        else
                verify_say(verify, VERIFY_FAIL, what, "%s: %" PRIu64 ", and should be %" PRIu64,
                           file, found, wanted);
}

/* v2's weight goes from 1 to 10000, BFQ's and v1's from 10 to 1000. */
static void check_weight(const struct verify *verify, const json_t *weight)
{
        static const char *const files[] = {"blkio.bfq.weight", "blkio.weight", "io.bfq.weight",
                                            "io.weight"};
        uint64_t wanted = (uint64_t)json_integer_value(weight);
        const char *file = NULL, *text = NULL;
        if (!weight)
                return;
        for (size_t i = 0; i < sizeof files / sizeof *files && !text; i++)
                text = verify_limit_text(verify, file = files[i]);
        if (!text) {
                verify_say(verify, VERIFY_WARNING, "I/O weight",
                           "the kernel has no I/O weight to compare");
                return;
        }
        if (strcmp(file, "io.weight") == 0)
                wanted = 1 + (wanted - 10) * 9999 / 990;
        const char *number = strncmp(text, "default ", 8) == 0 ? text + 8 : text;
        bool same = strtoull(number, NULL, 10) == wanted;
        verify_say(verify, same ? VERIFY_PASS : VERIFY_FAIL, "I/O weight",
                   same ? "%s: %.*s" : "%s: %.*s, and should be %" PRIu64, file,
                   (int)strcspn(number, "\n"), number, wanted);
}

void verify_io(const struct verify *verify)
{
        static const struct limit limits[] = {
                {"throttleReadBpsDevice", "bytes read a second", "blkio.throttle.read_bps_device",
                 "rbps"},
                {"throttleWriteBpsDevice", "bytes written a second",
                 "blkio.throttle.write_bps_device", "wbps"},
                {"throttleReadIOPSDevice", "reads a second", "blkio.throttle.read_iops_device",
                 "riops"},
                {"throttleWriteIOPSDevice", "writes a second", "blkio.throttle.write_iops_device",
                 "wiops"},
        };
        const json_t *io = verify_at(verify->spec, "linux", "resources", "blockIO", NULL);
        check_weight(verify, json_object_get(io, "weight"));
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
                size_t k;
                json_t *each;
                json_array_foreach (json_object_get(io, limits[i].list), k, each)
                        check_device(verify, &limits[i], each);
        }
}
