#include "oci/irq_affinity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "oci/setting.h"

#define NOTE       "irq"
#define VARIABLE   "IRQBALANCE_BANNED_CPUS="
#define CONFIG_MAX (1024 * 1024) /* bytes of irqbalance's file */

/* ---- irqbalance's file ---- */

static bool has_config(const struct irq_affinity *irq)
{
        return *irq->config && access(irq->config, F_OK) == 0;
}

/* The length of the line at text, with its end. */
static size_t line_length(const char *text)
{
        size_t length = strcspn(text, "\n");
        return length + (text[length] == '\n');
}

static bool is_ours(const char *line)
{
        return strncmp(line, VARIABLE, strlen(VARIABLE)) == 0;
}

/* The line that is in the file now, with its end; empty when there is none. On the heap. */
static char *banned_line(const char *contents)
{
        for (const char *at = contents; *at; at += line_length(at))
                if (is_ours(at))
                        return xstrndup(at, line_length(at));
        return xstrdup("");
}

/* Puts line in the place of the one that is there, or at the end. */
static int write_line(const struct irq_affinity *irq, const char *contents, const char *line,
                      struct error *err)
{
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        bool placed = false;
        for (const char *at = contents; *at; at += line_length(at)) {
                if (!is_ours(at)) {
                        buffer_add(&out, at, line_length(at));
                } else if (!placed) {
                        buffer_add_text(&out, line);
                        placed = true;
                }
        }
        if (!placed && *line) {
                if (out.length && out.data[out.length - 1] != '\n')
                        buffer_add_text(&out, "\n");
                buffer_add_text(&out, line);
        }
        return file_replace(irq->config, out.data ? out.data : "", out.length, 0644, err);
}

/* What was before is kept once: not again what we have written. */
static int ban(const struct irq_affinity *irq, const char *mask, struct error *err)
{
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        if (!has_config(irq))
                return 0;
        int result = file_read(irq->config, CONFIG_MAX, &contents, err);
        if (result < 0)
                return result;
        const char *text = contents.data ? contents.data : "";
        if (access(irq->kept, F_OK) < 0) {
                AUTO_FREE char *before = banned_line(text);
                result = file_replace(irq->kept, before, strlen(before), 0600, err);
                if (result < 0)
                        return result;
        }
        AUTO_FREE char *line = xprintf(VARIABLE "\"%s\"\n", mask);
        return write_line(irq, text, line, err);
}

static int unban(const struct irq_affinity *irq, struct error *err)
{
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        AUTO_BUFFER struct buffer before = BUFFER_INIT;
        if (access(irq->kept, F_OK) < 0)
                return 0;
        int result = file_read(irq->kept, CONFIG_MAX, &before, err);
        if (result == 0 && has_config(irq)) {
                result = file_read(irq->config, CONFIG_MAX, &contents, err);
                if (result == 0)
                        result = write_line(irq, contents.data ? contents.data : "",
                                            before.data ? before.data : "", err);
        }
        if (result == 0)
                unlink(irq->kept);
        return result;
}

/* ---- the mask ---- */

static int read_mask(const struct irq_affinity *irq, struct cpu_list *mask, size_t *width,
                     struct error *err)
{
        AUTO_FREE char *text = setting_read(irq->mask, err);
        if (!text)
                return err->number;
        int result = cpu_list_parse_mask(text, mask, err);
        *width = cpu_list_mask_width(text);
        return result < 0 ? error_context(err, "%s", irq->mask) : 0;
}

static int write_mask(const struct irq_affinity *irq, const struct cpu_list *mask, size_t width,
                      char **banned, struct error *err)
{
        AUTO_FREE char *text = cpu_list_mask(mask, width);
        int result = file_write(irq->mask, text, err);
        if (result < 0)
                return result;
        struct cpu_list rest = {0};
        for (size_t cpu = 0; cpu < width && cpu < CPU_LIST_MAX; cpu++)
                if (!cpu_list_has(mask, cpu))
                        cpu_list_add(&rest, cpu);
        *banned = cpu_list_mask(&rest, width);
        return 0;
}

/* The processors that an owner took; empty where it took none. */
static struct cpu_list taken_by(const char *folder, const char *owner)
{
        struct cpu_list cpus = {0};
        struct error ignored;
        AUTO_FREE char *text = setting_noted(folder, owner, NOTE);
        if (text)
                cpu_list_parse(text, &cpus, &ignored);
        return cpus;
}

static struct cpu_list taken_by_others(const char *folder, const char *owner)
{
        struct cpu_list all = {0};
        char **owners = setting_owners(folder);
        for (char **other = owners; other && *other; other++) {
                if (strcmp(*other, owner) == 0)
                        continue;
                struct cpu_list cpus = taken_by(folder, *other);
                cpu_list_join(&all, &cpus);
        }
        strv_free(owners);
        return all;
}

int irq_affinity_exclude(const struct irq_affinity *irq, const char *folder, const char *owner,
                         const struct cpu_list *cpus, char **banned, struct error *err)
{
        struct cpu_list mask, ours = *cpus;
        struct cpu_list known = taken_by_others(folder, owner);
        struct cpu_list before = taken_by(folder, owner);
        size_t width = 0;
        int result = read_mask(irq, &mask, &width, err);
        if (result < 0)
                return result;
        /* What somebody else kept interrupts off is not ours to give back. */
        cpu_list_join(&known, &before);
        cpu_list_join(&known, &mask);
        cpu_list_common(&ours, &known);
        cpu_list_remove(&mask, cpus);
        if (cpu_list_count(&mask) == 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "no processor would be left for interrupts");
        AUTO_FREE char *note = cpu_list_text(&ours);
        result = setting_note(folder, owner, NOTE, note, err);
        AUTO_FREE char *rest = NULL;
        if (result == 0)
                result = write_mask(irq, &mask, width, &rest, err);
        if (result == 0)
                result = ban(irq, rest, err);
        if (result == 0)
                *banned = take_ptr(rest);
        return result;
}

int irq_affinity_include(const struct irq_affinity *irq, const char *folder, const char *owner,
                         char **banned, struct error *err)
{
        AUTO_FREE char *note = setting_noted(folder, owner, NOTE);
        *banned = NULL;
        if (!note)
                return 0;
        struct cpu_list mask, ours = taken_by(folder, owner);
        struct cpu_list others = taken_by_others(folder, owner);
        size_t width = 0;
        int result = read_mask(irq, &mask, &width, err);
        if (result < 0)
                return result;
        cpu_list_remove(&ours, &others);
        cpu_list_join(&mask, &ours);
        AUTO_FREE char *rest = NULL;
        result = write_mask(irq, &mask, width, &rest, err);
        if (result == 0)
                result = cpu_list_count(&others) ? ban(irq, rest, err) : unban(irq, err);
        if (result < 0)
                return result;
        setting_forget(folder, owner, NOTE);
        *banned = take_ptr(rest);
        return 0;
}

int irq_affinity_mend(const struct irq_affinity *irq, const char *folder, struct error *err)
{
        struct cpu_list taken = taken_by_others(folder, "");
        return cpu_list_count(&taken) ? 0 : unban(irq, err);
}
