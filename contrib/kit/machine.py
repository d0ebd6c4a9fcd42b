"""A virtual machine with a disk made by test/vm/image: emulated, so it needs no /dev/kvm, and is slow."""
import fcntl
import glob
import hashlib
import os
import signal
import subprocess
import tempfile

from .paths import TOP, program
from .registry import free_port
from .wait import wait_for

MEMORY = "2048"
PROCESSORS = "2"
CPU = "max,-cx16"  # QEMU 7.2 spoils registers at a cmpxchg16b without a lock: newer kernels than 6.1 panic as they boot
BOOT = 300  # seconds; an idle machine takes a tenth of it


def image(deb):
    """The folder of a disk on which the package can be installed; made where it is missing."""
    made = subprocess.run([f"{TOP}/test/vm/image", deb], stdout=subprocess.PIPE, text=True, check=True)
    return made.stdout.strip().splitlines()[-1]


def overlay(base, path):
    """A disk at path that starts as what base has, and keeps its own changes. base must not change any more."""
    kind = "qcow2" if base.endswith(".qcow2") else "raw"
    subprocess.run([program("qemu-img"), "create", "-q", "-f", "qcow2", "-b", os.path.abspath(base), "-F", kind, path], check=True)
    return path


on = set()  # the machines of this moment, for the report of a failure


class Failed(AssertionError):
    pass


class Machine:
    """machine.boot(), then machine.sh("..."). A context manager, that cuts the power at its end."""

    def __init__(self, image, disk, folder=None, append=""):
        """image: what image() gave. disk: an overlay. folder: where the console's log is; the sockets are in a short one."""
        self.image, self.disk, self.append = image, disk, append
        self.folder = folder or os.path.dirname(disk)
        self.short = tempfile.mkdtemp(prefix="crisp-vm-", dir="/tmp")  # a socket's path has 107 bytes
        self.control = f"{self.short}/ssh"
        self.console = f"{self.folder}/console.log"
        self.process = self.port = None
        self.booted = None  # called after each boot

    # ---- its life ----

    def start(self):
        """Switches it on."""
        assert not self.on()
        self.port = free_port()
        with open(self.console, "ab") as console:
            self.process = subprocess.Popen(
                [
                    program("qemu-system-x86_64"),
                    "-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", PROCESSORS, "-m", MEMORY,
                    "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
                    "-kernel", f"{self.image}/vmlinuz", "-initrd", f"{self.image}/initrd",
                    "-append", f"root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off {self.append}",
                    # A flush reaches this machine's kernel, not its disk: what is cut off is the emulator, never this machine.
                    "-drive", f"file={self.disk},if=virtio,format=qcow2,discard=unmap,cache=unsafe",
                    "-device", "virtio-rng-pci",
                    "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-:22", "-device", "virtio-net-pci,netdev=net",
                ],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )

    def on(self):
        return self.process is not None and self.process.poll() is None

    def _ssh(self, *arguments):
        return [
            program("ssh"), "-i", f"{self.image}/key", "-p", str(self.port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "StreamLocalBindUnlink=yes",
            "-o", "ServerAliveInterval=0", "-S", self.control, *arguments,
        ]

    def _answers(self):
        if not self.on():
            raise Failed(f"the machine went off while it booted:\n{self.console_tail()}")
        master = subprocess.run(
            self._ssh("-f", "-N", "-M", "-o", "ExitOnForwardFailure=yes", "root@127.0.0.1"),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        return master.returncode == 0

    def boot(self):
        """Switches it on and waits until one can log in."""
        self.start()
        wait_for(self._answers, "the machine to boot", BOOT, 0.5)
        on.add(self)
        if self.booted:
            self.booted()
        return self

    def cut(self):
        """The power goes: what the machine had not written to its disk is lost."""
        if self.on():
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self._hang_up()

    def shut_down(self):
        """In order, as `poweroff` does."""
        self.sh("systemctl --no-block poweroff", check=False)
        wait_for(lambda: not self.on(), "the machine to go off", BOOT, 0.2)
        self._hang_up()

    def reboot(self):
        """-no-reboot ends the emulator where the machine would start again, so that each boot has a process of its own."""
        self.shut_down()
        self.boot()

    def _hang_up(self):
        on.discard(self)
        if os.path.exists(self.control):
            subprocess.run(self._ssh("-O", "exit", "root@127.0.0.1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name in glob.glob(f"{self.short}/*"):
            os.unlink(name)

    def close(self):
        self.cut()
        if os.path.isdir(self.short):
            os.rmdir(self.short)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def console_tail(self, size=3000):
        try:
            with open(self.console, "rb") as file:
                return file.read()[-size:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    # ---- what is done in it ----

    def sh(self, script, check=True, input=None, timeout=600, raw=False):
        """Runs a shell script as root in it and returns what it wrote; a failure is raised. timeout: seconds."""
        done = subprocess.run(
            self._ssh("root@127.0.0.1", script), input=input, stdin=None if input is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
        )
        if check and done.returncode:
            raise Failed(f"{script!r} gave {done.returncode}:\n{done.stdout.decode(errors='replace')[-6000:]}")
        return done.stdout if raw else done.stdout.decode(errors="replace")

    def status(self, script, **more):
        """Runs it and returns its exit status."""
        return int(self.sh(f"( {script}\n) >/dev/null 2>&1; echo $?", **more).split()[-1])

    def put(self, folder, *sources, exclude=()):
        """Copies files and folders of this machine into a folder of that one."""
        for source in sources:
            where, name = os.path.split(os.path.abspath(source))
            tar = subprocess.run([program("tar"), "-C", where, *(f"--exclude={e}" for e in exclude), "-cf", "-", name],
                                 stdout=subprocess.PIPE, check=True)
            self.sh(f"mkdir -p {folder} && tar -C {folder} -xf -", input=tar.stdout)

    def get(self, folder, into):
        """Copies a folder of that machine into one of this."""
        os.makedirs(into, exist_ok=True)
        data = self.sh(f"tar -C {folder} -cf - . 2>/dev/null", raw=True)
        subprocess.run([program("tar"), "-C", into, "--no-same-owner", "-xf", "-"], input=data, check=True)

    def forward(self, remote, local=None):
        """Makes a unix socket of that machine one of this one's, until it goes off, and returns its path."""
        local = local or f"{self.short}/{os.path.basename(remote)}"
        subprocess.run(self._ssh("-O", "forward", "-L", f"{local}:{remote}", "root@127.0.0.1"), check=True, stdout=subprocess.DEVNULL)
        return local

    def lend(self, port):
        """Lets a port of this machine's loopback be the same port of that one's."""
        subprocess.run(self._ssh("-O", "forward", "-R", f"127.0.0.1:{port}:127.0.0.1:{port}", "root@127.0.0.1"), check=True,
                       stdout=subprocess.DEVNULL)


# ---- a node with our package ----

PACKAGE_PARTS = ["api", "base", "cli", "cmd", "conmon", "contrib", "cri", "docs", "image", "network", "oci", "Makefile", "VERSION"]
CONFIG = """
[log]
level = "debug"
"""


def package():
    """The package, built where a source is newer."""
    with open(f"{TOP}/VERSION") as file:
        version = file.read().strip()
    made = glob.glob(f"{TOP}/build/deb/crisp_{version}_*.deb")
    parts = [f"{TOP}/{part}" for part in PACKAGE_PARTS]
    newer = made and subprocess.run(
        ["find", *parts, "-type", "f", "-newer", made[0], "-not", "-name", "*.pyc", "-not", "-path", f"{TOP}/contrib/kit/*"],
        stdout=subprocess.PIPE, check=True,
    ).stdout
    if not made or newer:
        subprocess.run(["make", "-C", TOP, "deb"], check=True, stdout=subprocess.DEVNULL)
        made = glob.glob(f"{TOP}/build/deb/crisp_{version}_*.deb")
    return made[0]


def install(base, deb, disk):
    """Makes disk: the package installed on the image as a user installs it."""
    new = overlay(f"{base}/disk", f"{disk}.new")
    with Machine(base, new) as machine:
        machine.boot()
        machine.put("/root", deb)
        machine.sh(f"apt-get install -y --no-install-recommends /root/{os.path.basename(deb)}", timeout=3600)
        machine.sh("mkdir -p /etc/crisp/crisp.toml.d /etc/cni/net.d && cat > /etc/crisp/crisp.toml.d/10-vm.toml", input=CONFIG.encode())
        machine.sh("cp /usr/share/doc/crisp/examples/10-crisp-bridge.conflist /etc/cni/net.d/")
        machine.sh("systemctl restart crisp")
        machine.shut_down()
    os.rename(new, disk)


def node_disk():
    """(image's folder, disk): a node with the package installed. Made once for each package."""
    os.makedirs(f"{TOP}/build/vm", exist_ok=True)
    with open(f"{TOP}/build/vm/node.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        deb = package()
        base = image(deb)
        with open(deb, "rb") as file:
            name = hashlib.sha256(file.read() + CONFIG.encode()).hexdigest()[:12]
        disk = f"{base}/node-{name}.qcow2"
        if not os.path.exists(disk):
            for old in glob.glob(f"{base}/node-*"):
                os.unlink(old)
            install(base, deb, disk)
    return base, disk


def bring_tests(machine):
    """Puts what test/integration needs into /crisp: the tests, and the programs that are tested, as they are installed."""
    machine.put("/crisp", f"{TOP}/contrib", f"{TOP}/api", f"{TOP}/docs", f"{TOP}/VERSION", exclude=["__pycache__"])
    machine.put("/crisp/test", f"{TOP}/test/integration", exclude=["__pycache__"])
    machine.sh("mkdir -p /crisp/build && ln -sf /usr/bin/crisp /usr/libexec/crisp/* /crisp/build/")
