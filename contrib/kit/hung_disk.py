"""A file system whose server does not answer: whoever looks for a file in it waits in the kernel, and no signal ends that."""
import ctypes
import errno
import os
import struct
import subprocess
import tempfile
import threading

from .paths import program

LOOKUP, GETATTR, INIT, INTERRUPT, FORGET, BATCH_FORGET = 1, 3, 26, 36, 2, 42
IN_HEADER = struct.Struct("<IIQQIIIHH")  # length, opcode, unique, node, user, group, process, ...
OUT_HEADER = struct.Struct("<IiQ")
VERSION = (7, 31)


class HungDisk:
    """A folder, `path`, in which every look-up of a name hangs until release(), which answers that there is no such file."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="crt-hung-", dir="/tmp")
        self.waiting = []  # requests that were read and not answered: these can not be interrupted
        self.hangs = True
        self.lock = threading.Lock()
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"hung", self.path.encode(), b"fuse", 0, options) < 0:
            os.close(self.fd)
            os.rmdir(self.path)
            raise OSError(ctypes.get_errno(), "mount a FUSE file system")
        threading.Thread(target=self._serve, daemon=True).start()

    def _answer(self, unique, error=0, body=b""):
        try:
            os.write(self.fd, OUT_HEADER.pack(OUT_HEADER.size + len(body), -error, unique) + body)
        except OSError:
            pass  # who asked has gone

    def _serve(self):
        while True:
            try:
                request = os.read(self.fd, 1 << 20)
            except OSError:
                return  # unmounted
            _, opcode, unique, node = IN_HEADER.unpack_from(request)[:4]
            if opcode == INIT:
                self._answer(unique, body=struct.pack("<IIIIHHIIHHI28x", *VERSION, 0, 0, 0, 0, 65536, 1, 0, 0, 0))
            elif opcode == GETATTR:
                attributes = struct.pack("<QQQQQQIIIIIIIIII", node, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
                self._answer(unique, body=struct.pack("<QII", 3600, 0, 0) + attributes)
            elif opcode == LOOKUP:
                with self.lock:
                    if self.hangs:
                        self.waiting.append(unique)
                        continue
                self._answer(unique, errno.ENOENT)
            elif opcode not in (INTERRUPT, FORGET, BATCH_FORGET):
                self._answer(unique, errno.ENOSYS)

    def release(self):
        with self.lock:
            self.hangs = False
            waiting, self.waiting = self.waiting, []
        for unique in waiting:
            self._answer(unique, errno.ENOENT)

    def close(self):
        self.release()
        subprocess.run([program("umount"), "-l", self.path], check=True)
        os.close(self.fd)
        os.rmdir(self.path)
