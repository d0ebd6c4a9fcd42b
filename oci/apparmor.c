#include "oci/apparmor.h"

#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/process.h"
#include "oci/runtime.h"

#define ENABLED_FILE  "/sys/module/apparmor/parameters/enabled"
#define PROFILES_FILE "/sys/kernel/security/apparmor/profiles"
#define OUTPUT_MAX    (64 * 1024)

bool apparmor_is_enabled(const char *root)
{
        AUTO_FREE char *path = xprintf("%s%s", root, ENABLED_FILE);
        AUTO_FREE char *profiles = xprintf("%s%s", root, PROFILES_FILE);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        return file_read(path, 16, &text, NULL) == 0 && text.length > 0 && text.data[0] == 'Y' &&
               access(profiles, F_OK) == 0;
}

/* Its lines are "NAME (MODE)", and a name may contain spaces and parentheses. */
int apparmor_is_loaded(const char *root, const char *name, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s%s", root, PROFILES_FILE);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = file_read(path, APPARMOR_PROFILES_MAX, &text, err);
        if (result < 0)
                return result;
        size_t wanted = strlen(name);
        const char *end = text.data + text.length;
        for (const char *line = text.data; line && line < end;) {
                const char *newline = memchr(line, '\n', (size_t)(end - line));
                size_t length = (size_t)((newline ? newline : end) - line);
                const char *mode = memrchr(line, '(', length);
                if (mode && (size_t)(mode - line) == wanted + 1 && mode[-1] == ' ' &&
                    memcmp(line, name, wanted) == 0)
                        return 1;
                line = newline ? newline + 1 : end;
        }
        return 0;
}

/*
 * It lets a container do what its capabilities and namespaces let it do, but for mounting and for
 * the kernel's files that reach past them. Those are masked or read-only mounts already, which a
 * container that has got hold of another mount could go around; the profile it meets anyway.
 * Programs without a profile, as the monitor and the runtime are, may signal it, and it may signal
 * and trace what is under the same profile. There is no #include: it works without other files.
 */
char *apparmor_profile(const char *name)
{
        return xprintf(
                "profile \"%s\" flags=(attach_disconnected,mediate_deleted) {\n"
                "  capability,\n"
                "  file,\n"
                "  network,\n"
                "  umount,\n"
                "  unix,\n"
                "  deny mount,\n"
                "  signal (receive) peer=unconfined,\n"
                "  signal (send, receive) peer=\"%s\",\n"
                "  ptrace (trace, read, tracedby, readby) peer=\"%s\",\n"
                "\n"
                "  # The machine's part of /proc. What a network or IPC namespace has of its own\n"
                "  # (sys/net, sys/fs/mqueue, sys/kernel/shm*, msg*, sem) stays writable.\n"
                "  deny /proc/* w,\n"
                "  deny /proc/{acpi,asound,bus,driver,fs,irq,scsi,tty}/** w,\n"
                "  deny /proc/sys/{abi,crypto,debug,dev,sunrpc,user,vm,xen}/** w,\n"
                "  deny /proc/sys/fs/[^m]** w,\n"
                "  deny /proc/sys/kernel/[^ms]** w,\n"
                "  deny /proc/sys/kernel/{s[^he]**,seccomp/**,m[^s]**} w,\n"
                "  deny /proc/{kcore,kmem,mem,sysrq-trigger} rwklx,\n"
                "\n"
                "  # Of /sys nothing but cgroups.\n"
                "  deny /sys/{block,bus,class,dev,devices,hypervisor,kernel,module,power}/** "
                "wklx,\n"
                "  deny /sys/fs/[^c]** wklx,\n"
                "  deny /sys/firmware/** rwklx,\n"
                "  deny /sys/devices/virtual/powercap/** rwklx,\n"
                "  deny /sys/kernel/security/** rwklx,\n"
                "}\n",
                name, name, name);
}

static char *find_parser(const char *root)
{
        static const char *const places[] = {"/usr/sbin/apparmor_parser", "/sbin/apparmor_parser",
                                             "/usr/bin/apparmor_parser",
                                             "/usr/local/sbin/apparmor_parser"};
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
                AUTO_FREE char *path = xprintf("%s%s", root, places[i]);
                if (access(path, X_OK) == 0)
                        return take_ptr(path);
        }
        return NULL;
}

int apparmor_load(const char *root, const char *name, int64_t deadline, struct error *err)
{
        AUTO_FREE char *program = find_parser(root);
        if (!program)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "AppArmor profile %s is not loaded, and apparmor_parser, which "
                                 "would load it, is not installed",
                                 name);
        AUTO_FREE char *text = apparmor_profile(name);
        /* Without its cache, which would have to be kept somewhere; the profile comes from stdin.
         */
        char *const arguments[] = {program, (char *)"--replace", (char *)"--skip-cache", NULL};
        struct process_options options = PROCESS_OPTIONS_INIT;
        options.path = program;
        options.argv = arguments;
        options.environment = runtime_environment();
        struct process_run run = {
                .input = text,
                .input_length = strlen(text),
                .output_max = OUTPUT_MAX,
                .errors_max = OUTPUT_MAX,
                .deadline = deadline,
        };
        int result = process_run(&options, &run, err);
        if (result == 0)
                result = process_check(&run, "apparmor_parser", err);
        process_run_fini(&run);
        return result < 0 ? error_context(err, "load AppArmor profile %s", name) : 0;
}
