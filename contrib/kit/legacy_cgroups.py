"""A mount namespace without the v2 tree of a hybrid cgroup host, which crun before 1.9 takes for a controller and does not start."""
import ctypes
import os
import re
import subprocess
import sys

UNIFIED = "/sys/fs/cgroup/unified"
CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 16384, 1 << 18
MNT_DETACH = 2


def needed(program):
    """Whether this runtime cannot run containers here as the machine is."""
    if not os.path.ismount(UNIFIED):
        return False
    version = subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    match = re.match(r"crun version (\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) < (1, 9)


def enter():
    """This process and those that it starts from now on are in such a namespace. Mounts made before stay in view."""
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (lambda: libc.unshare(CLONE_NEWNS),
                 lambda: libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None),
                 lambda: libc.umount2(UNIFIED.encode(), MNT_DETACH)):
        if call() < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"leave {UNIFIED}: {os.strerror(number)}")


def wrapper(program):
    """What a daemon is started by that is to run containers with this runtime: nothing, or this file."""
    return [sys.executable, os.path.abspath(__file__)] if needed(program) else []


if __name__ == "__main__":
    enter()
    os.execv(sys.argv[1], sys.argv[1:])
