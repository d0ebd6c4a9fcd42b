/* Which label a process and its files have. */
#include "oci/selinux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

#define POLICY_FILE_MAX (256 * 1024)
#define PROCESS_DEFAULT "system_u:system_r:container_t:s0"
#define FILE_DEFAULT    "system_u:object_r:container_file_t:s0"
#define KVM_DEFAULT     "system_u:system_r:container_kvm_t:s0"

struct selinux {
        char *process;
        char *file;
        char *kvm;
        char *check; /* the kernel's file that knows whether a label is one */
};

/* ---- the policy ---- */

/* The value of `key = "value"` or `key=value` at the start of a line, on the heap; or null. */
static char *value_of(const char *text, const char *key)
{
        size_t length = strlen(key);
        for (const char *line = text; line && *line;) {
                const char *at = line + strspn(line, " \t");
                if (strncmp(at, key, length) == 0) {
                        at += length;
                        at += strspn(at, " \t");
                        if (*at == '=') {
                                at += 1 + strspn(at + 1, " \t\"");
                                return xstrndup(at, strcspn(at, "\"\n\r \t"));
                        }
                }
                line = strchr(line, '\n');
                line += line != NULL;
        }
        return NULL;
}

static char *read_value(const char *path, const char *key)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        if (file_read(path, POLICY_FILE_MAX, &text, NULL) < 0)
                return NULL;
        buffer_add(&text, "", 1);
        char *value = value_of(text.data, key);
        if (value && !*value) {
                free(value);
                value = NULL;
        }
        return value;
}

static bool is_label(const char *text)
{
        size_t colons = 0;
        for (const char *at = text; at && *at; at++)
                colons += *at == ':';
        return text && colons >= 2 && strlen(text) < SELINUX_LABEL_MAX;
}

static char *context(const char *path, const char *key, const char *fallback)
{
        char *value = read_value(path, key);
        if (is_label(value))
                return value;
        free(value);
        return xstrdup(fallback);
}

struct selinux *selinux_open(const char *root)
{
        AUTO_FREE char *check = xprintf("%s/sys/fs/selinux/context", root);
        AUTO_FREE char *settings = xprintf("%s/etc/selinux/config", root);
        /* The file system is mounted by the one who loads the policy. */
        if (access(check, F_OK) < 0)
                return NULL;
        AUTO_FREE char *policy = read_value(settings, "SELINUXTYPE");
        AUTO_FREE char *contexts = xprintf("%s/etc/selinux/%s/contexts/lxc_contexts", root,
                                           policy ? policy : "targeted");
        struct selinux *selinux = xcalloc(1, sizeof *selinux);
        selinux->process = context(contexts, "process", PROCESS_DEFAULT);
        selinux->file = context(contexts, "file", FILE_DEFAULT);
        selinux->kvm = context(contexts, "kvm_process", KVM_DEFAULT);
        selinux->check = take_ptr(check);
        return selinux;
}

void selinux_free(struct selinux *selinux)
{
        if (!selinux)
                return;
        free(selinux->process);
        free(selinux->file);
        free(selinux->kvm);
        free(selinux->check);
        free(selinux);
}

/* ---- labels ---- */

#define PARTS 4
enum { USER, ROLE, TYPE, LEVEL };

/* Its parts on the heap; a level may have colons itself. */
static void split(const char *label, char *parts[static PARTS])
{
        for (size_t i = 0; i < PARTS; i++) {
                size_t length = i == LEVEL ? strlen(label) : strcspn(label, ":");
                parts[i] = xstrndup(label, length);
                label += length;
                label += *label == ':';
        }
}

static char *join(char *parts[static PARTS])
{
        char *label = *parts[LEVEL] ? xprintf("%s:%s:%s:%s", parts[USER], parts[ROLE], parts[TYPE],
                                              parts[LEVEL])
                                    : xprintf("%s:%s:%s", parts[USER], parts[ROLE], parts[TYPE]);
        for (size_t i = 0; i < PARTS; i++)
                free(parts[i]);
        return label;
}

static void replace(char **part, const char *value)
{
        if (!value || !*value)
                return;
        free(*part);
        *part = xstrdup(value);
}

const char *selinux_level(const char *label)
{
        for (size_t i = 0; i < LEVEL && label; i++) {
                label = strchr(label, ':');
                label += label != NULL;
        }
        return label ? label : "";
}

static int check_label(const struct selinux *selinux, const char *label, struct error *err)
{
        if (strlen(label) >= SELINUX_LABEL_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "selinux_options: label too long");
        AUTO_FD int fd = open(selinux->check, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", selinux->check);
        if (write(fd, label, strlen(label) + 1) >= 0)
                return 0;
        if (errno == EINVAL)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "selinux_options: the policy has no label \"%.200s\"", label);
        return error_errno(err, errno, "check SELinux label %.200s", label);
}

int selinux_labels(const struct selinux *selinux, const char *base, const char *level,
                   const struct selinux_options *options, struct selinux_labels *labels,
                   struct error *err)
{
        AUTO_SELINUX_LABELS struct selinux_labels made = {0};
        char *process[PARTS], *mount[PARTS];
        split(base ? base : selinux->process, process);
        split(selinux->file, mount);
        if (!base)
                replace(&process[LEVEL], level);
        if (options) {
                replace(&process[USER], options->user);
                replace(&process[ROLE], options->role);
                replace(&process[TYPE], options->type);
                replace(&process[LEVEL], options->level);
                replace(&mount[USER], options->user);
        }
        replace(&mount[LEVEL], process[LEVEL]);
        made.process = join(process);
        made.mount = join(mount);
        int result = check_label(selinux, made.process, err);
        if (result == 0)
                result = check_label(selinux, made.mount, err);
        if (result < 0)
                return result;
        labels->process = take_ptr(made.process);
        labels->mount = take_ptr(made.mount);
        return 0;
}

void selinux_labels_fini(struct selinux_labels *labels)
{
        free(labels->process);
        free(labels->mount);
        *labels = (struct selinux_labels){0};
}

char *selinux_kvm_label(const struct selinux *selinux, const char *label)
{
        char *parts[PARTS], *kvm[PARTS];
        split(label, parts);
        split(selinux->kvm, kvm);
        replace(&parts[TYPE], kvm[TYPE]);
        for (size_t i = 0; i < PARTS; i++)
                free(kvm[i]);
        return join(parts);
}

void selinux_level_new(char level[static SELINUX_LEVEL_MAX])
{
        uint32_t random[2] = {0};
        unsigned one, other;
        do {
                /* Never short for so few bytes, and early in the boot it waits. */
                if (getrandom(random, sizeof random, 0) != sizeof random)
                        abort();
                one = random[0] % SELINUX_CATEGORIES;
                other = random[1] % SELINUX_CATEGORIES;
        } while (one == other);
        snprintf(level, SELINUX_LEVEL_MAX, "s0:c%u,c%u", one < other ? one : other,
                 one < other ? other : one);
}
