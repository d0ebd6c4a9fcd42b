/* Capabilities: names, the default set, and what this process itself has to give. */
#include <linux/capability.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/spec.h"
#include "oci/spec_private.h"

/* In the kernel's order (linux/capability.h): the index is the number. */
static const char *const names[] = {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_LINUX_IMMUTABLE",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_ADMIN",
        "CAP_NET_RAW",
        "CAP_IPC_LOCK",
        "CAP_IPC_OWNER",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_PACCT",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_MKNOD",
        "CAP_LEASE",
        "CAP_AUDIT_WRITE",
        "CAP_AUDIT_CONTROL",
        "CAP_SETFCAP",
        "CAP_MAC_OVERRIDE",
        "CAP_MAC_ADMIN",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
        "CAP_BLOCK_SUSPEND",
        "CAP_AUDIT_READ",
        "CAP_PERFMON",
        "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
};

#define CAPABILITY_COUNT (sizeof names / sizeof *names)
_Static_assert(sizeof names / sizeof *names <= 64, "a set is one 64-bit mask");

const char *spec_capability_name(int number)
{
        return number >= 0 && (size_t)number < CAPABILITY_COUNT ? names[number] : NULL;
}

const char *const SPEC_DEFAULT_CAPABILITIES[] = {
        "CAP_AUDIT_WRITE", "CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER",     "CAP_FSETID",
        "CAP_KILL",        "CAP_MKNOD",   "CAP_NET_BIND_SERVICE", "CAP_NET_RAW",    "CAP_SETFCAP",
        "CAP_SETGID",      "CAP_SETPCAP", "CAP_SETUID",           "CAP_SYS_CHROOT", NULL,
};

/* What this process may give to another: in its bounding set and permitted to itself. */
static uint64_t own_mask(void)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
        if (syscall(SYS_capget, &header, data) < 0)
                return 0;
        uint64_t permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
        uint64_t mask = 0;
        for (unsigned i = 0; i < CAPABILITY_COUNT; i++)
                if (permitted >> i & 1 && prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1)
                        mask |= UINT64_C(1) << i;
        return mask;
}

bool spec_capability_own(int number)
{
        return own_mask() >> number & 1;
}

static int number_of(const char *name)
{
        if (strncasecmp(name, "CAP_", 4) == 0)
                name += 4;
        for (unsigned i = 0; i < CAPABILITY_COUNT; i++)
                if (strcasecmp(names[i] + 4, name) == 0)
                        return (int)i;
        return -1;
}

bool spec_capability_is_known(const char *name)
{
        return number_of(name) >= 0;
}

static const char *const *vector_of(struct arena *arena, uint64_t mask)
{
        const char **vector = arena_array(arena, CAPABILITY_COUNT + 1, sizeof *vector);
        size_t count = 0;
        for (unsigned i = 0; i < CAPABILITY_COUNT; i++)
                if (mask >> i & 1)
                        vector[count++] = names[i];
        return vector;
}

/* ALL in *all, the others as a mask in *set. */
static int read_list(char *const *list, size_t count, bool *all, uint64_t *set, struct error *err)
{
        for (size_t i = 0; i < count; i++) {
                if (strcasecmp(list[i], "ALL") == 0) {
                        *all = true;
                        continue;
                }
                int number = number_of(list[i]);
                if (number < 0)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "capability \"%.64s\": no such capability", list[i]);
                *set |= UINT64_C(1) << number;
        }
        return 0;
}

/* The set that request leaves, in *set, and what it drops by name. */
static int choose(const struct spec_capability_request *request, uint64_t *set,
                  uint64_t *dropped_set, struct error *err)
{
        uint64_t own = own_mask(), added = 0, dropped = 0, mask = 0;
        bool add_all = false, drop_all = false;
        int status = read_list(request->add, request->add_count, &add_all, &added, err);
        if (status == 0)
                status = read_list(request->drop, request->drop_count, &drop_all, &dropped, err);
        if (status < 0)
                return status;
        const char *const *name = request->defaults ? request->defaults : SPEC_DEFAULT_CAPABILITIES;
        for (; *name; name++) {
                int number = number_of(*name);
                if (number < 0)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "capability \"%.64s\": no such capability", *name);
                mask |= UINT64_C(1) << number;
        }
        /* No container gets by default what the daemon has not got; who asks for it by name is
         * told. */
        mask &= own;
        if (added & ~own)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "capability %s: crisp itself does not have it",
                                 names[__builtin_ctzll(added & ~own)]);
        if (add_all)
                mask = own;
        if (drop_all)
                mask = 0;
        *set = (mask | added) & ~dropped;
        *dropped_set = dropped;
        return 0;
}

int spec_capabilities_choose(struct arena *arena, const struct spec_capability_request *request,
                             struct spec_capabilities *sets, struct error *err)
{
        uint64_t own = own_mask(), set = 0, dropped = 0, ambient = 0;
        bool all_ambient = false;
        int status = choose(request, &set, &dropped, err);
        if (status == 0)
                status = read_list(request->ambient, request->ambient_count, &all_ambient, &ambient,
                                   err);
        if (status < 0)
                return status;
        if (all_ambient)
                ambient |= set;
        ambient &= ~dropped;
        if (ambient & ~own)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "ambient capability %s: crisp itself does not have it",
                                 names[__builtin_ctzll(ambient & ~own)]);
        const char *const *vector = vector_of(arena, set | ambient);
        sets->bounding = sets->effective = sets->permitted = vector;
        sets->inheritable = vector_of(arena, (request->inheritable ? set : 0) | ambient);
        sets->ambient = vector_of(arena, ambient);
        return 0;
}

const char *const *spec_capabilities_all(struct arena *arena)
{
        return vector_of(arena, own_mask());
}
