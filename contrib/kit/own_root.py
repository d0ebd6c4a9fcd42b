"""Runs a program with the root folder as the root of its mount namespace: own_root.py PROGRAM [ARGUMENT...]

In a chroot it is not, and what enters a container's mount namespace (an exec) arrives in the folder tree outside of the chroot
instead of the container. There the program gets a mount namespace of its own, whose root the chroot is; anywhere else nothing is
changed.
"""
import ctypes
import os
import sys

CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
PLACE = b"mnt"  # a folder that every Debian has; what is mounted there is seen by the program alone

libc = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments):
    if getattr(libc, function)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def root():
    status = os.stat("/")
    return status.st_dev, status.st_ino


def to_namespace_root():
    """Entering a mount namespace, even one's own, leads to its root."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    call("setns", own, CLONE_NEWNS)
    os.close(own)


def in_chroot():
    child = os.fork()
    if child == 0:
        try:
            here = root()
            to_namespace_root()
            os._exit(1 if root() != here else 0)
        except OSError:
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 2:
        raise OSError("cannot tell whether this is a chroot: is /proc mounted, and is this root?")
    return status == 1


def leave_chroot():
    folder = os.getcwd()
    call("unshare", CLONE_NEWNS)
    chroot = os.open("/", os.O_PATH | os.O_DIRECTORY)
    to_namespace_root()
    # First of all nothing may come through to the machine's other namespaces.
    call("mount", None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
    os.fchdir(chroot)
    os.close(chroot)
    call("mount", b".", PLACE, None, ctypes.c_ulong(MS_BIND | MS_REC), None)
    os.chdir(PLACE)
    # With the same folder twice the old root comes to lie over the new one, and is taken off.
    call("pivot_root", b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir(folder)


def main():
    try:
        if in_chroot():
            leave_chroot()
            if in_chroot():
                raise OSError("still in a chroot")
    except OSError as e:
        sys.exit(f"containers cannot run in this chroot: {e}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
