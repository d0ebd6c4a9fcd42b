#include "oci/facts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "oci/facts_private.h"
#include "oci/spec_private.h"

static int read_file(pid_t pid, const char *name, struct buffer *text, struct error *err)
{
        AUTO_FREE char *path = xprintf("/proc/%d/%s", (int)pid, name);
        int result = file_read(path, FACTS_FILE_MAX, text, err);
        if (result == -ENOENT || result == -ESRCH)
                return error_set(err, ERROR_NOT_FOUND, "process %d has ended", (int)pid);
        return result;
}

/* ---- namespaces ---- */

static int64_t inode_of(const char *path)
{
        struct stat info;
        return stat(path, &info) == 0 ? (int64_t)info.st_ino : 0;
}

static json_t *namespaces(pid_t pid)
{
        static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"};
        json_t *all = json_object();
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                AUTO_FREE char *own = xprintf("/proc/%d/ns/%s", (int)pid, names[i]);
                AUTO_FREE char *host = xprintf("/proc/self/ns/%s", names[i]);
                int64_t inode = inode_of(own);
                if (inode)
                        json_object_set_new(all, names[i],
                                            json_pack("{s:I, s:b}", "inode", (json_int_t)inode,
                                                      "host", inode == inode_of(host)));
        }
        return all;
}

static json_t *pinned(const json_t *spec)
{
        json_t *all = json_object(), *each;
        size_t i;
        json_array_foreach (json_object_get(json_object_get(spec, "linux"), "namespaces"), i,
                            each) {
                const char *path = json_string_value(json_object_get(each, "path"));
                if (path)
                        json_object_set_new(all, path, json_integer(inode_of(path)));
        }
        return all;
}

/* ---- cgroups ---- */

/* Without the last line feed; null where there is none. */
static json_t *limit_text(const struct cgroup_system *system, const char *path,
                          const char *controller, const char *name)
{
        AUTO_FREE char *file = cgroup_file(system, path, controller, name);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        if (!file || file_read(file, FACTS_LIMIT_MAX, &text, NULL) < 0 || !text.data)
                return NULL;
        while (text.length && text.data[text.length - 1] == '\n')
                text.data[--text.length] = '\0';
        return json_string(text.data);
}

static bool is_limit(const char *name, bool v2)
{
        static const char *const ends[] = {".max", ".min", ".low", ".high", ".weight", NULL};
        static const char *const names[] = {"cpuset.cpus",
                                            "cpuset.mems",
                                            "cpu.shares",
                                            "cpu.cfs_quota_us",
                                            "cpu.cfs_period_us",
                                            "memory.limit_in_bytes",
                                            "memory.oom.group",
                                            "freezer.state",
                                            "memory.memsw.limit_in_bytes",
                                            "blkio.weight",
                                            "blkio.bfq.weight",
                                            "blkio.throttle.read_bps_device",
                                            "blkio.throttle.write_bps_device",
                                            "blkio.throttle.read_iops_device",
                                            "blkio.throttle.write_iops_device",
                                            "cgroup.freeze",
                                            "memory.swappiness",
                                            "memory.soft_limit_in_bytes",
                                            NULL};
        size_t length = strlen(name);
        for (const char *const *each = names; *each; each++)
                if (strcmp(name, *each) == 0)
                        return true;
        if (strncmp(name, "hugetlb.", 8) == 0)
                return strstr(name, v2 ? ".max" : ".limit_in_bytes") && !strstr(name, "rsvd");
        for (const char *const *end = ends; *end; end++)
                if (length > strlen(*end) && strcmp(name + length - strlen(*end), *end) == 0 &&
                    (v2 || strcmp(name, "pids.max") == 0))
                        return true;
        return false;
}

static json_t *limits(const struct cgroup_system *system, const char *path, const char *controller)
{
        json_t *all = json_object();
        AUTO_FREE char *folder = cgroup_file(system, path, controller, "");
        DIR *directory = folder ? opendir(folder) : NULL;
        for (struct dirent *entry; directory && (entry = readdir(directory));)
                if (is_limit(entry->d_name, system->mode == CGROUP_MODE_V2)) {
                        json_t *text = limit_text(system, path, controller, entry->d_name);
                        if (text)
                                json_object_set_new(all, entry->d_name, text);
                }
        if (directory)
                closedir(directory);
        return all;
}

/* "4:memory:/a/b" by line, as the process is in each hierarchy; "0::/a/b" is v2's. */
static int cgroups(pid_t pid, const struct cgroup_system *system, const char *cgroup_path,
                   json_t *facts, struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = read_file(pid, "cgroup", &text, err);
        if (result < 0)
                return result;
        json_t *all = json_array();
        char *state = NULL;
        for (char *line = text.data ? strtok_r(text.data, "\n", &state) : NULL; line;
             line = strtok_r(NULL, "\n", &state)) {
                char *name = strchr(line, ':'), *path = name ? strchr(name + 1, ':') : NULL;
                if (!path)
                        continue;
                *path++ = '\0';
                name++;
                AUTO_FREE char *controller = xstrndup(name, strcspn(name, ","));
                json_t *entry = json_pack("{s:s, s:s?}", "hierarchy", *name ? name : "unified",
                                          "path", path);
                if (*name || system->mode == CGROUP_MODE_V2)
                        json_object_set_new(
                                entry, "limits",
                                limits(system, cgroup_path, *name ? controller : "cgroup"));
                json_array_append_new(all, entry);
        }
        json_object_set_new(facts, "cgroups", all);
        return 0;
}

/* ---- the process ---- */

static json_t *capability_names(uint64_t set)
{
        json_t *all = json_array();
        for (int number = 0; number < 64; number++)
                if (set & UINT64_C(1) << number) {
                        const char *name = spec_capability_name(number);
                        json_array_append_new(all, name ? json_string(name)
                                                        : json_sprintf("CAP_%d", number));
                }
        return all;
}

static json_t *group_list(const char *text)
{
        json_t *all = json_array();
        char *end;
        for (;;) {
                unsigned long gid = strtoul(text, &end, 10);
                if (end == text)
                        return all;
                json_array_append_new(all, json_integer((json_int_t)gid));
                text = end;
        }
}

/* The line "Name:\t..." of /proc/PID/status, after its tab; null where it is not there. */
static const char *field(const char *status, const char *name)
{
        size_t length = strlen(name);
        for (const char *line = status; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, name, length) == 0 && line[length] == ':')
                        return line + length + 1;
        }
        return NULL;
}

static json_t *second_number(const char *text)
{
        unsigned long real = 0, effective = 0;
        if (!text || sscanf(text, "%lu %lu", &real, &effective) < 2)
                return json_null();
        return json_integer((json_int_t)effective);
}

static int status(pid_t pid, json_t *facts, struct error *err)
{
        static const char *const sets[][2] = {{"CapBnd", "bounding"},
                                              {"CapEff", "effective"},
                                              {"CapPrm", "permitted"},
                                              {"CapInh", "inheritable"},
                                              {"CapAmb", "ambient"}};
        static const char *const modes[] = {"disabled", "strict", "filter"};
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = read_file(pid, "status", &text, err);
        if (result < 0)
                return result;
        const char *all = text.data ? text.data : "", *value;
        json_object_set_new(facts, "uid", second_number(field(all, "Uid")));
        json_object_set_new(facts, "gid", second_number(field(all, "Gid")));
        value = field(all, "Groups");
        AUTO_FREE char *groups = xstrndup(value ? value : "", value ? strcspn(value, "\n") : 0);
        json_object_set_new(facts, "groups", group_list(groups));
        json_t *capabilities = json_object();
        for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
                if ((value = field(all, sets[i][0])))
                        json_object_set_new(capabilities, sets[i][1],
                                            capability_names(strtoull(value, NULL, 16)));
        json_object_set_new(facts, "capabilities", capabilities);
        value = field(all, "NoNewPrivs");
        json_object_set_new(facts, "noNewPrivileges", json_boolean(value && atoi(value) == 1));
        value = field(all, "Seccomp");
        unsigned long mode = value ? strtoul(value, NULL, 10) : 0;
        json_object_set_new(facts, "seccomp", json_string(mode < 3 ? modes[mode] : "unknown"));
        value = field(all, "Seccomp_filters");
        if (value)
                json_object_set_new(facts, "seccompFilters", json_integer(atoi(value)));
        return 0;
}

/* "Max open files   1024   4096   files": names end with two spaces. */
static int rlimits(pid_t pid, json_t *facts, struct error *err)
{
        static const char *const names[][2] = {
                {"Max cpu time", "RLIMIT_CPU"},
                {"Max file size", "RLIMIT_FSIZE"},
                {"Max data size", "RLIMIT_DATA"},
                {"Max stack size", "RLIMIT_STACK"},
                {"Max core file size", "RLIMIT_CORE"},
                {"Max resident set", "RLIMIT_RSS"},
                {"Max processes", "RLIMIT_NPROC"},
                {"Max open files", "RLIMIT_NOFILE"},
                {"Max locked memory", "RLIMIT_MEMLOCK"},
                {"Max address space", "RLIMIT_AS"},
                {"Max file locks", "RLIMIT_LOCKS"},
                {"Max pending signals", "RLIMIT_SIGPENDING"},
                {"Max msgqueue size", "RLIMIT_MSGQUEUE"},
                {"Max nice priority", "RLIMIT_NICE"},
                {"Max realtime priority", "RLIMIT_RTPRIO"},
                {"Max realtime timeout", "RLIMIT_RTTIME"},
        };
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = read_file(pid, "limits", &text, err);
        if (result < 0)
                return result;
        json_t *all = json_object();
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                const char *line = text.data ? strstr(text.data, names[i][0]) : NULL;
                char soft[24], hard[24];
                if (!line || sscanf(line + strlen(names[i][0]), "%23s %23s", soft, hard) != 2)
                        continue;
                json_int_t numbers[2] = {strcmp(soft, "unlimited") ? atoll(soft) : -1,
                                         strcmp(hard, "unlimited") ? atoll(hard) : -1};
                json_object_set_new(
                        all, names[i][1],
                        json_pack("{s:I, s:I}", "soft", numbers[0], "hard", numbers[1]));
        }
        json_object_set_new(facts, "rlimits", all);
        return 0;
}

static void texts(pid_t pid, json_t *facts)
{
        AUTO_BUFFER struct buffer label = BUFFER_INIT, score = BUFFER_INIT;
        /* EINVAL where no security module has labels. */
        if (read_file(pid, "attr/current", &label, NULL) == 0 && label.data) {
                label.data[strcspn(label.data, "\n")] = '\0';
                json_object_set_new(facts, "label", json_string(label.data));
        }
        if (!json_object_get(facts, "label"))
                json_object_set_new(facts, "label", json_string(""));
        if (read_file(pid, "oom_score_adj", &score, NULL) == 0 && score.data)
                json_object_set_new(facts, "oomScoreAdj", json_integer(atoi(score.data)));
}

/* ---- mounts ---- */

/* mountinfo writes a space as \040. */
static char *unescaped(const char *text)
{
        char *out = xstrdup(text), *to = out;
        for (const char *from = text; *from;) {
                if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] && from[3]) {
                        *to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
                                       (from[3] - '0'));
                        from += 4;
                } else {
                        *to++ = *from++;
                }
        }
        *to = '\0';
        return out;
}

static json_t *option_list(const char *mount_options, const char *propagation)
{
        json_t *all = json_array();
        AUTO_FREE char *copy = xstrdup(mount_options);
        char *state = NULL;
        for (char *word = strtok_r(copy, ",", &state); word; word = strtok_r(NULL, ",", &state))
                json_array_append_new(all, json_string(word));
        json_array_append_new(all, json_string(propagation));
        return all;
}

static json_t *layers_of(const char *super_options)
{
        const char *lower = strstr(super_options, "lowerdir=");
        if (!lower)
                return NULL;
        lower += strlen("lowerdir=");
        return json_stringn(lower, strcspn(lower, ","));
}

/* "ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [FIELDS...] - TYPE SOURCE SUPER"; null for what is
 * none.
 */
static json_t *mount_entry(char *line)
{
        char *words[64], *state = NULL;
        size_t count = 0, dash = 0;
        const char *propagation = "private";
        for (char *word = strtok_r(line, " ", &state); word && count < 64;
             word = strtok_r(NULL, " ", &state)) {
                if (count >= 6 && !dash && strcmp(word, "-") == 0)
                        dash = count;
                else if (count >= 6 && !dash && strncmp(word, "shared:", 7) == 0)
                        propagation = "shared";
                else if (count >= 6 && !dash && strncmp(word, "master:", 7) == 0 &&
                         strcmp(propagation, "shared") != 0)
                        propagation = "slave";
                words[count++] = word;
        }
        if (!dash || count < dash + 4)
                return NULL;
        AUTO_FREE char *place = unescaped(words[4]);
        AUTO_FREE char *root = unescaped(words[3]);
        AUTO_FREE char *source = unescaped(words[dash + 2]);
        json_t *entry = json_pack(
                "{s:s?, s:s, s:s?, s:s?, s:s, s:o, s:b}", "destination", place, "type",
                words[dash + 1], "source", source, "sourceFolder", root, "device", words[2],
                "options", option_list(words[5], propagation), "readonly",
                strncmp(words[5], "ro", 2) == 0 || strncmp(words[dash + 3], "ro,", 3) == 0 ||
                        strcmp(words[dash + 3], "ro") == 0);
        if (entry && strcmp(words[dash + 1], "overlay") == 0) {
                json_t *layers = layers_of(words[dash + 3]);
                if (layers)
                        json_object_set_new(entry, "layers", layers);
        }
        return entry;
}

static int mounts(pid_t pid, json_t *facts, struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = read_file(pid, "mountinfo", &text, err);
        if (result < 0)
                return result;
        json_t *all = json_array();
        char *state = NULL;
        for (char *line = text.data ? strtok_r(text.data, "\n", &state) : NULL; line;
             line = strtok_r(NULL, "\n", &state)) {
                json_t *entry = mount_entry(line);
                if (!entry)
                        continue;
                if (strcmp(json_string_value(json_object_get(entry, "destination")), "/") == 0)
                        json_object_set(facts, "root", entry);
                json_array_append_new(all, entry);
                if (json_array_size(all) > FACTS_MOUNTS_MAX)
                        break;
        }
        json_object_set_new(facts, "mounts", all);
        return json_array_size(all) > FACTS_MOUNTS_MAX
                       ? error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                   "process %d has more than %d mounts", (int)pid, FACTS_MOUNTS_MAX)
                       : 0;
}

/* Which of the paths that are to be masked or read-only are there. */
static void paths(pid_t pid, const json_t *spec, json_t *facts)
{
        static const char *const lists[] = {"maskedPaths", "readonlyPaths"};
        AUTO_FREE char *root_path = xprintf("/proc/%d/root", (int)pid);
        AUTO_FD int root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        json_t *all = json_object(), *each;
        for (size_t k = 0; k < 2 && root >= 0; k++) {
                size_t i;
                json_array_foreach (json_object_get(json_object_get(spec, "linux"), lists[k]), i,
                                    each) {
                        const char *path = json_string_value(each);
                        AUTO_FD int fd = path ? file_open_in(root, path, O_PATH, 0, NULL) : -1;
                        if (path)
                                json_object_set_new(all, path, json_boolean(fd >= 0));
                }
        }
        json_object_set_new(facts, "paths", all);
}

int facts_read(pid_t pid, const struct cgroup_system *system, const char *cgroup_path,
               const json_t *spec, json_t **facts, struct error *err)
{
        AUTO_JSON json_t *made = json_object();
        json_object_set_new(made, "pid", json_integer(pid));
        json_object_set_new(made, "namespaces", namespaces(pid));
        json_object_set_new(made, "pinned", pinned(spec));
        int result = cgroups(pid, system, cgroup_path, made, err);
        if (result == 0)
                result = status(pid, made, err);
        if (result == 0)
                result = rlimits(pid, made, err);
        if (result == 0)
                result = mounts(pid, made, err);
        if (result < 0)
                return result;
        texts(pid, made);
        facts_devices(system, cgroup_path, made);
        json_object_set_new(made, "sysctls", facts_sysctls(pid, spec));
        paths(pid, spec, made);
        json_object_set_new(made, "cgroupPath", json_string(cgroup_path));
        *facts = json_incref(made);
        return 0;
}
