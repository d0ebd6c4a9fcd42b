#include "cri/config_machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

static bool is_folder(const char *root, const char *path)
{
        AUTO_FREE char *full = xprintf("%s%s", root, path);
        struct stat info;

        return stat(full, &info) == 0 && S_ISDIR(info.st_mode);
}

static char *find_program(const char *root, const char *name)
{
        static const char *const folders[] = {
                "/usr/sbin",
                "/usr/bin",
                "/usr/local/sbin",
                "/usr/local/bin",
        };

        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
                AUTO_FREE char *path = xprintf("%s/%s", folders[i], name);
                AUTO_FREE char *full = xprintf("%s%s", root, path);
                struct stat info;

                if (stat(full, &info) == 0 && S_ISREG(info.st_mode) && access(full, X_OK) == 0)
                        return take_ptr(path);
        }
        return NULL;
}

void config_machine_probe(const char *root, struct config_machine *machine)
{
        /* sd_booted(3) looks at the same folder */
        machine->systemd = is_folder(root, "/run/systemd/system");
        machine->hybrid = is_folder(root, "/sys/fs/cgroup/unified");
        machine->runc = find_program(root, "runc");
        machine->crun = find_program(root, "crun");
        machine->kata = find_program(root, "containerd-shim-kata-v2");
        machine->runsc = find_program(root, "containerd-shim-runsc-v1");
        machine->crun_wasm = find_program(root, "crun-wasm");
        machine->youki = find_program(root, "youki");
}

void config_machine_fini(struct config_machine *machine)
{
        cleanup_free(&machine->runc);
        cleanup_free(&machine->crun);
        cleanup_free(&machine->kata);
        cleanup_free(&machine->runsc);
        cleanup_free(&machine->crun_wasm);
        cleanup_free(&machine->youki);
}

const char *config_machine_handler(const struct config_machine *machine)
{
        /*
         * crun starts a container in half of runc's time. But before 1.9 it refuses to run where
         * /sys/fs/cgroup is hybrid, and Debian 12 has 1.8.1; to learn its version it would have to
         * be run, and the start depends on no program.
         */
        if (machine->crun && !(machine->hybrid && machine->runc))
                return "crun";
        return machine->youki && !machine->runc ? "youki" : "runc";
}
