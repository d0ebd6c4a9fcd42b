"""What is measured: crisp, and containerd with a socket, folders, network and cgroups of its own."""
import os
import subprocess

from kit.cri import grpc
from kit.daemon import Daemon
from kit.image import Image, Layer
from kit.paths import program
from kit.wait import wait_for


def _words(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")
    except OSError:
        return [""]


def processes():
    return [(int(pid), _words(pid)) for pid in os.listdir("/proc") if pid.isdigit()]


def pss(pid):
    """Proportional set size of a process, in MB."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory")


class Crisp(Daemon):
    name = "crisp"
    helper = "monitor"

    def __init__(self, build, handler, base=None):
        super().__init__(build, handler, base)
        # A debug line for every call is not what a node writes.
        path = f"{self.root}/crisp.toml"
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(text.replace('level = "debug"', 'level = "info"'))

    def prepare(self, registry):
        pass

    def helpers(self):
        """The processes that stay beside each container, one list for each container."""
        return [[pid] for pid, words in processes() if "crisp-monitor" in words[0:1] and any(self.root in w for w in words)]


CONTAINERD_CONFIG = """\
version = 2
root = "{root}/state"
state = "{root}/run/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
                    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{socket}"
[debug]
level = "warn"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_tcp_service = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runtime"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runtime]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runtime.options]
BinaryName = "{runtime}"
"""


class Containerd(Daemon):
    name = "containerd"
    helper = "shim and pause"

    @staticmethod
    def installed():
        try:
            return bool(program("containerd") and program("containerd-shim-runc-v2"))
        except FileNotFoundError:
            return False

    def prepare(self, registry):
        """Its pause image, which must come from a registry, holds our own small program: containerd is not charged for a big one."""
        with open(f"{self.build}/crisp-pause", "rb") as file:
            layer = Layer().file("pause", file.read(), mode=0o755)
        self.pause = registry.push("bench/pause", "1", Image([layer], {"Entrypoint": ["/pause", "--hold"], "Cmd": []}))

    def start(self, wait=True, env=None):
        self.make_cgroup(self.cgroup)
        plugins = next(d for d in self.plugin_dirs if os.path.exists(f"{d}/bridge"))
        with open(f"{self.root}/config.toml", "w") as file:
            file.write(
                CONTAINERD_CONFIG.format(
                    root=self.root, socket=self.socket, pause=self.pause, cni=self.cni, plugins=plugins, runtime=program(self.handler)
                )
            )
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [program("containerd"), "--config", f"{self.root}/config.toml"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        if wait:
            self.wait_ready()
            wait_for(self._network_ready, "containerd's network")
        return self

    def destroy(self):
        """Its pods first, where a run broke off: their network namespaces bear no name that tells whose they are."""
        try:
            if self.alive():
                self.remove_everything()
        except grpc.RpcError:
            pass
        return super().destroy()

    def _network_ready(self):
        return all(condition.status for condition in self.client.Status().status.conditions)

    def helpers(self):
        """A shim is there for each pod, with all of its containers; it takes the pause process for one more of them."""
        all_of_them = processes()
        shims = [pid for pid, words in all_of_them if words[0].endswith("containerd-shim-runc-v2") and self.socket in words]
        pauses = [(pid, _parent(pid)) for pid, words in all_of_them if words[0] == "/pause"]
        return [[shim, *(pid for pid, parent in pauses if parent == shim)] for shim in shims]


def _parent(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0
