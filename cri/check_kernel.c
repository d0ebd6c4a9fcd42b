/* What of the kernel, and of what this process may do, a node needs. */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "cri/check_private.h"
#include "network/namespace.h"
#include "oci/apparmor.h"
#include "oci/idmap.h"
#include "oci/seccomp_profile.h"
#include "oci/selinux.h"

#define KERNEL_MAJOR    5
#define KERNEL_MINOR    10
#define FILES_LEAST     65536 /* descriptors: three for each container, and those of calls */
#define INSTANCES_LEAST 512   /* of inotify, by user: kubelets and containers use them too */

static void check_version(struct check *check)
{
        struct utsname name;
        unsigned major = 0, minor = 0;
        uname(&name);
        sscanf(name.release, "%u.%u", &major, &minor);
        if (major > KERNEL_MAJOR || (major == KERNEL_MAJOR && minor >= KERNEL_MINOR))
                check_pass(check, "kernel", "%s", name.release);
        else
                check_fail(check, "kernel", "%s is older than %d.%d: install a newer one",
                           name.release, KERNEL_MAJOR, KERNEL_MINOR);
}

static void check_rights(struct check *check)
{
        static const struct {
                int number;
                const char *name, *for_what;
        } needed[] = {{CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "mounts and namespaces"},
                      {CAP_NET_ADMIN, "CAP_NET_ADMIN", "pods' networks"},
                      {CAP_MKNOD, "CAP_MKNOD", "devices"},
                      {CAP_CHOWN, "CAP_CHOWN", "files of images"},
                      {CAP_SETFCAP, "CAP_SETFCAP", "files of images with capabilities"},
                      {CAP_KILL, "CAP_KILL", "stopping containers"}};
        bool all = geteuid() == 0;
        if (!all)
                check_fail(check, "rights", "crisp must run as root");
        for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
                if (prctl(PR_CAPBSET_READ, needed[i].number, 0, 0, 0) == 0) {
                        all = false;
                        check_fail(check, "rights",
                                   "%s is missing, which %s need: give it to crisp", needed[i].name,
                                   needed[i].for_what);
                }
        if (prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE, 0, 0, 0) == 0) {
                all = false;
                check_warn(check, "rights",
                           "CAP_SYS_RESOURCE is missing: OOM scores below crisp's own and higher "
                           "limits of resources cannot be given to containers");
        }
        if (all)
                check_pass(check, "rights", "root, with the capabilities that are needed");
        if (namespace_mounts_are_shared_with_init())
                check_pass(check, "mount namespace", "the machine's");
        else
                check_warn(
                        check, "mount namespace",
                        "not the machine's: a daemon that is started so loses its pods' namespaces "
                        "when it ends. With systemd, remove PrivateTmp, ProtectSystem and the like "
                        "from the unit");
}

static bool knows_filesystem(const char *name)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_FREE char *line = xprintf("\t%s\n", name);
        return file_read("/proc/filesystems", 1 << 16, &text, NULL) == 0 && text.data &&
               strstr(text.data, line);
}

static void check_features(struct check *check)
{
        static const char *const namespaces[] = {"cgroup", "ipc",  "mnt", "net",
                                                 "pid",    "user", "uts"};
        if (knows_filesystem("overlay"))
                check_pass(check, "overlayfs", "there");
        else
                check_fail(check, "overlayfs",
                           "the kernel has none: load its module (modprobe overlay), at each boot");
        for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++) {
                AUTO_FREE char *path = xprintf("/proc/self/ns/%s", namespaces[i]);
                if (access(path, F_OK) < 0)
                        check_fail(check, "namespaces", "the kernel has no %s namespaces",
                                   namespaces[i]);
        }
        if (seccomp_profile_is_supported())
                check_pass(check, "seccomp", "there");
        else
                check_warn(check, "seccomp",
                           "the kernel has no filters: containers that want one are refused");
        if (idmap_kernel_can())
                check_pass(check, "mount attributes", "recursive read-only and mapped mounts work");
        else
                check_warn(check, "mount attributes",
                           "the kernel has no mount_setattr: recursive read-only and mapped mounts "
                           "are refused; Linux 5.12 has it");
        check_pass(check, "AppArmor", apparmor_is_enabled("") ? "on" : "off");
        struct selinux *selinux = selinux_open("");
        check_pass(check, "SELinux", selinux ? "on" : "off");
        selinux_free(selinux);
}

static long long number_of(const char *path)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        return file_read(path, 64, &text, NULL) == 0 && text.data ? atoll(text.data) : -1;
}

static void check_settings(struct check *check)
{
        struct rlimit files;
        long long instances = number_of("/proc/sys/fs/inotify/max_user_instances");
        long long bridged = number_of("/proc/sys/net/bridge/bridge-nf-call-iptables");
        if (number_of("/proc/sys/net/ipv4/ip_forward") == 1)
                check_pass(check, "net.ipv4.ip_forward", "1");
        else
                check_warn(check, "net.ipv4.ip_forward",
                           "0: pods reach nobody outside of this machine; set it to 1, unless the "
                           "network's plugins do");
        if (bridged == 0)
                check_warn(check, "net.bridge.bridge-nf-call-iptables",
                           "0: a cluster's services do not reach pods of the same bridge; set it "
                           "to 1");
        if (instances >= INSTANCES_LEAST)
                check_pass(check, "fs.inotify.max_user_instances", "%lld", instances);
        else
                check_warn(check, "fs.inotify.max_user_instances",
                           "%lld is few for a node: set it to %d or more", instances,
                           INSTANCES_LEAST);
        if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < FILES_LEAST)
                check_warn(check, "open files",
                           "at most %llu: raise the limit (LimitNOFILE= of the unit) to %d or more",
                           (unsigned long long)files.rlim_max, FILES_LEAST);
        else
                check_pass(check, "open files", "at most %llu", (unsigned long long)files.rlim_max);
}

void check_kernel(struct check *check)
{
        check_version(check);
        check_rights(check);
        check_features(check);
        check_settings(check);
}
