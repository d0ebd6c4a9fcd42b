"""A crisp of one's own: folders, socket, bridge network, cgroups and names that no other daemon on the machine shares."""
import json
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import tempfile

from . import leaks
from .cri import Client, grpc
from .paths import TOP, program
from .wait import PATIENCE, wait_for

PLUGIN_DIRS = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"]
CNI_VERSION = "1.0.0"


def free_subnet():
    """The first three numbers of a /24 that no route of this machine names."""
    routes = subprocess.run([program("ip"), "route"], stdout=subprocess.PIPE, text=True, check=True).stdout
    while True:
        prefix = f"10.{random.randint(100, 250)}.{random.randint(0, 255)}"
        if f"{prefix}." not in routes:
            return prefix


class Daemon:
    def __init__(self, build, handler=None, base=None, config="", network=True, wrapper=()):
        self.build = os.path.abspath(os.path.join(TOP, build))
        self.handler = handler or ("runc" if shutil.which("runc", path="/usr/sbin:/usr/bin") else "crun")
        self.tag = secrets.token_hex(3)
        self.root = base or tempfile.mkdtemp(prefix=f"crt-{self.tag}-", dir="/tmp")
        if not base:
            os.chmod(self.root, 0o711)  # as /run/crisp: runtimes pass as root of a pod's user namespace, too
        self.state, self.run, self.cni = f"{self.root}/state", f"{self.root}/run", f"{self.root}/cni"
        self.socket = f"{self.run}/crisp.sock"
        self.log = f"{self.root}/daemon.log"
        self.bridge = f"crt{self.tag}"
        self.subnet = free_subnet()
        self.subnet6 = f"fd{self.tag[:2]}:{self.tag[2:]}::"
        self.cgroup_driver = os.environ.get("CRISP_CGROUP_DRIVER", "cgroupfs")
        self.cgroup = f"/crisp-test-{self.tag}" if self.cgroup_driver == "cgroupfs" else f"/crisptest{self.tag}.slice"
        self.plugin_dirs = list(PLUGIN_DIRS)
        self.extra = config
        self.ids = set()
        self.process = None
        self.wrapper = list(wrapper)
        for folder in (self.run, self.cni, f"{self.root}/logs"):
            os.makedirs(folder, exist_ok=True)
        self.write_config()
        if network:
            self.write_network()
        self.client = Client(self.socket, after=self._note)

    # ---- what it is told ----

    def write_config(self, extra=None):
        if extra is not None:
            self.extra = extra
        sections = {
            "": f'state_dir = "{self.state}"\nrun_dir = "{self.run}"\n',
            "api": f'listen = "{self.socket}"\n',
            # A pod that has no network fails at once, unless the test is about waiting.
            "network": f'config_dir = "{self.cni}"\nplugin_dirs = {json.dumps(self.plugin_dirs)}\n'
                       + ("" if "ready_timeout" in (self.extra or {}).get("network", "") else "ready_timeout = 0\n"),
            "images": f'registries_conf = "{self.root}/registries.conf"\n'
                      f'hosts_dirs = ["{self.root}/hosts"]\ncerts_dirs = ["{self.root}/certs"]\n'
                      f'auth_files = ["{self.root}/auth.json"]\nnamespaced_auth_dir = "{self.root}/auth"\n'
                      f'signature_policy = "{self.root}/policy.json"\nsignature_policy_dir = "{self.root}/policies"\n'
                      f'registries_d = "{self.root}/registries.d"\n',
            "runtime": f'default_handler = "{self.handler}"\ncgroup_driver = "{self.cgroup_driver}"\nmonitor_cgroup = "{self.cgroup}/monitors"\n'
                       f'cdi_spec_dirs = ["{self.root}/cdi", "{self.root}/cdi-over"]\n'
                       f'hooks_dir = ["{self.root}/hooks", "{self.root}/hooks-over"]\n',
            f"runtime.handlers.{self.handler}": self.handler_config(),
            "log": 'level = "debug"\n',
        }
        for section, lines in (self.extra or {}).items():
            sections[section] = sections.get(section, "") + lines
        with open(f"{self.root}/crisp.toml", "w") as file:
            for section, lines in sections.items():
                file.write((f"[{section}]\n" if section else "") + lines)

    @property
    def runtime(self):
        """The OCI runtime that runs the containers: what runc's shim drives is runc."""
        return program("runc" if self.handler == "shim" else self.handler)

    def handler_config(self):
        """The handler "shim" is runc's of containerd, which speaks the same protocol as all shims."""
        if self.handler == "shim":
            return f'kind = "shim"\npath = "{program("containerd-shim-runc-v2")}"\n'
        return f'kind = "oci"\npath = "{program(self.handler)}"\n'

    def network_config(self, ipv6=False, portmap=False, masquerade=False, **more):
        ranges = [[{"subnet": f"{self.subnet}.0/24"}]]
        routes = [{"dst": "0.0.0.0/0"}]
        if ipv6:
            ranges.append([{"subnet": f"{self.subnet6}/64"}])
            routes.append({"dst": "::/0"})
        plugins = [
            {
                "type": "bridge", "bridge": self.bridge, "isGateway": True, "ipMasq": masquerade,
                "ipam": {"type": "host-local", "dataDir": f"{self.root}/ipam", "ranges": ranges, "routes": routes},
            }
        ]
        if portmap:
            plugins.append({"type": "portmap", "capabilities": {"portMappings": True}, "snat": True})
        return {"cniVersion": CNI_VERSION, "name": f"net{self.tag}", "plugins": plugins, **more}

    def write_network(self, config=None, name="10-bridge.conflist"):
        """Replaces the network's configuration as a whole, as an installer of a network does."""
        text = config if isinstance(config, str) else json.dumps(config or self.network_config(), indent=1)
        with open(f"{self.root}/{name}.new", "w") as file:
            file.write(text)
        os.rename(f"{self.root}/{name}.new", f"{self.cni}/{name}")

    def remove_network(self, name="10-bridge.conflist"):
        os.unlink(f"{self.cni}/{name}")

    # ---- its life ----

    @property
    def crisp(self):
        return f"{self.build}/crisp"

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def start(self, wait=True, env=None):
        assert not self.alive()
        self.make_cgroup(self.cgroup)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self.process = subprocess.Popen(
                [*self.wrapper, self.crisp, "serve", "--config", f"{self.root}/crisp.toml"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                     "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:disable_coredump=1",
                     "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
                     "TSAN_OPTIONS": "halt_on_error=0:exitcode=66",
                     **(env or {})},
            )
        finally:
            os.close(log)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=120):
        wait_for(self.answers, "the daemon to answer", seconds)
        return self

    def answers(self):
        if not self.alive():
            raise RuntimeError(f"the daemon ended with {self.process.returncode}:\n{self.log_tail()}")
        # A connection first: a channel that was refused waits before it tries again.
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(self.socket)
            except OSError:
                return False
        try:
            return bool(self.client.Version(deadline=10).version)
        except grpc.RpcError:
            return False

    def kill(self):
        """As a crash ends it: no chance to tidy up."""
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds=60):
        """As systemd stops it. Returns its exit status."""
        self.process.terminate()
        return self.process.wait(seconds * PATIENCE)

    def restart(self):
        self.kill()
        return self.start()

    def log_tail(self, lines=20):
        """The end of the daemon's log without the calls that went well."""
        try:
            with open(self.log, errors="replace") as file:
                return "".join([line for line in file if "level=debug" not in line][-lines:])
        except FileNotFoundError:
            return ""

    def log_text(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    @property
    def sanitized(self):
        """Whether it was built with a sanitizer."""
        return os.path.basename(self.build).startswith("build-")

    def sanitizer_report(self):
        """What a sanitizer wrote to the log, if anything."""
        text = self.log_text() if os.path.exists(self.log) else ""
        found = re.search(r"(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:)", text)
        return text[found.start():found.start() + 6000] if found else ""

    # ---- what a kubelet does beside CRI ----

    def make_cgroup(self, path):
        if self.cgroup_driver == "systemd" and path.endswith(".slice"):
            # On a machine under load systemd gives up a connection that takes long to say who it is.
            words = [program("systemctl"), "start", os.path.basename(path)]
            wait_for(lambda: subprocess.run(words).returncode == 0, f"systemd to make {path}", pause=1)
        for root in leaks.cgroup_roots():
            os.makedirs(root + path, exist_ok=True)
            # cpuset in version 1 starts empty, and nothing can run in an empty set.
            for name in ("cpuset.cpus", "cpuset.mems"):
                leaks.inherit(root, path, name)
        return path

    def remove_cgroup(self, path):
        """Takes away an empty parent, as the kubelet does."""
        if self.cgroup_driver == "systemd":  # which would make it again for a slice that it takes for active
            subprocess.run([program("systemctl"), "stop", os.path.basename(path)], check=True)
        for root in leaks.cgroup_roots():
            if os.path.isdir(root + path):
                os.rmdir(root + path)

    def child_cgroup(self, name):
        """A parent for a pod below the daemon's own, by the driver's way to name it; nobody has made it yet."""
        if self.cgroup_driver == "systemd":
            return f"{self.cgroup}/{os.path.basename(self.cgroup)[:-len('.slice')]}-{name}.slice"
        return f"{self.cgroup}/{name}"

    def container_cgroup(self, container):
        """Where a container of a pod with the default parent is."""
        return f"{self.cgroup}/crisp-{container}.scope" if self.cgroup_driver == "systemd" else f"{self.cgroup}/{container}"

    def _note(self, name, request, response):
        if name == "RunPodSandbox":
            self.ids.add(response.pod_sandbox_id)
        elif name == "CreateContainer":
            self.ids.add(response.container_id)

    def remove_everything(self):
        """Removes every pod with all that is in it. Runs after each test."""
        for container in self.client.ListContainers().containers:
            self.client.StopContainer(container_id=container.id, timeout=0)
            self.client.RemoveContainer(container_id=container.id)
        for pod in self.client.ListPodSandbox().items:
            self.client.StopPodSandbox(pod_sandbox_id=pod.id)
            self.client.RemovePodSandbox(pod_sandbox_id=pod.id)

    def leftovers(self):
        return leaks.find(self)

    def destroy(self):
        """Ends whatever is left of this daemon, by force, and returns in words what went wrong or had to be forced."""
        self.client.close()
        left = []
        if self.alive():
            try:
                status = self.terminate()
                left += [f"the daemon ended with {status}"] if status else []
            except subprocess.TimeoutExpired:
                left.append("the daemon did not end when told to")
                self.kill()
        left += filter(None, [self.sanitizer_report()])
        left += leaks.find_soon(self)  # a child may be about to become another program
        leaks.force(self)
        shutil.rmtree(self.root, ignore_errors=True)
        return left
