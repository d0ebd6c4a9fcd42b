"""Shorthands of the tests."""
import glob
import itertools
import json
import os
import re

import grpc
from kit.cri import pb
from kit.image import Image, Layer
from kit.wait import wait_for

_serial = itertools.count(1)

CREATED, RUNNING, EXITED, UNKNOWN = range(4)
READY, NOTREADY = range(2)
POD, CONTAINER, NODE, TARGET = range(4)
KINDS = grpc.StatusCode
FAILS = tuple(set(KINDS) - {KINDS.OK, KINDS.UNIMPLEMENTED, KINDS.DEADLINE_EXCEEDED})  # any plain failure


def error_of(call, *codes):
    """Makes the call, which must fail with one of the codes, and returns its message."""
    try:
        result = call()
    except grpc.RpcError as e:
        assert e.code() in codes, f"{e.code()}: {e.details()}"
        assert e.details(), "an error without a message"
        return e.details()
    raise AssertionError(f"was not refused, but gave {result}")


def small(*files, compression="gzip", **more):
    """An image of some little files."""
    layer = Layer(compression)
    for name in files or ("hello",):
        layer.file(name, name + "\n")
    return Image([layer], **more)


class Node:
    """A daemon as a kubelet sees it."""

    def __init__(self, daemon, image):
        self.daemon, self.image, self.client = daemon, image, daemon.client
        self.pull(image)

    # ---- images ----

    def pull(self, name, **more):
        return self.client.PullImage(image={"image": name}, **more).image_ref

    def image_status(self, name):
        response = self.client.ImageStatus(image={"image": name})
        return response.image if response.HasField("image") else None

    # ---- pods ----

    def pod_config(self, name=None, attempt=0, namespace="default", linux=None, **more):
        name = name or f"pod{next(_serial)}"
        linux = {"cgroup_parent": self.daemon.cgroup, **self.namespaces(), **(linux or {})}
        config = {
            "metadata": {"name": name, "uid": f"uid-{name}", "namespace": namespace, "attempt": attempt},
            "hostname": name,
            "log_directory": f"{self.daemon.root}/logs/{name}-{attempt}",
            "linux": linux,
        }
        config.update(more)
        return config

    def namespaces(self, network=POD, pid=CONTAINER, ipc=POD, **more):
        return {"security_context": {"namespace_options": {"network": network, "pid": pid, "ipc": ipc, **more}}}

    def run_pod(self, config=None, handler="", deadline=None, **more):
        """Runs a pod and returns its id."""
        config = config or self.pod_config(**more)
        for last in (False, False, True):
            try:
                return self.client.RunPodSandbox(config=config, runtime_handler=handler, deadline=deadline).pod_sandbox_id
            except grpc.RpcError as e:
                # The bridge plugin's own race, beside other daemons with bridges; as a kubelet, we come again.
                if last or "could not set bridge's mac" not in e.details():
                    raise

    def pod(self, **more):
        """Runs a pod and returns (id, configuration), which CreateContainer needs both."""
        config = self.pod_config(**more)
        return self.run_pod(config), config

    def privileged_pod(self, **more):
        """A pod whose containers may be privileged."""
        linux = self.namespaces()
        linux["security_context"]["privileged"] = True
        return self.pod(linux=linux, **more)

    def pod_status(self, pod, **more):
        return self.client.PodSandboxStatus(pod_sandbox_id=pod, **more).status

    def remove_pod(self, pod):
        self.client.StopPodSandbox(pod_sandbox_id=pod)
        self.client.RemovePodSandbox(pod_sandbox_id=pod)

    # ---- containers ----

    def container_config(self, command=None, args=None, name="main", attempt=0, image=None, image_spec=None, **more):
        config = {
            "metadata": {"name": name, "attempt": attempt},
            "image": image_spec or {"image": image or self.image},
            "log_path": f"{name}/{attempt}.log",
        }
        if command is not None:
            config["command"] = command
        if args is not None:
            config["args"] = args
        config.update(more)
        return config

    def create(self, pod, command=None, deadline=None, **more):
        """Creates a container in pod, an (id, configuration) pair, and returns its id."""
        pod_id, pod_config = pod
        folder = os.path.dirname(f"{pod_config.get('log_directory')}/{self.container_config(**more)['log_path']}")
        self.make_folder(folder)
        config = self.container_config(command, **more)
        # The kubelet says the pod's namespaces once more for each container.
        security = pod_config.get("linux", {}).get("security_context", {})
        linux = dict(config.get("linux") or {})
        linux["security_context"] = {"namespace_options": security.get("namespace_options", {}), **linux.get("security_context", {})}
        config["linux"] = linux
        return self.client.CreateContainer(
            pod_sandbox_id=pod_id, config=config, sandbox_config=pod_config, deadline=deadline
        ).container_id

    def make_folder(self, path):
        """A folder for logs, which the kubelet makes."""
        os.makedirs(path, exist_ok=True)

    def start(self, container, **more):
        self.client.StartContainer(container_id=container, **more)

    def run(self, pod, command=None, **more):
        """Creates and starts a container and returns its id."""
        container = self.create(pod, command, **more)
        self.start(container)
        return container

    def sh(self, pod, script, **more):
        return self.run(pod, ["/bin/sh", "-c", script], **more)

    def sleeper(self, pod, **more):
        """A container that runs until it is told to stop, and obeys at once."""
        return self.sh(pod, "trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait; done", **more)

    def status(self, container, **more):
        return self.client.ContainerStatus(container_id=container, **more).status

    def wait_exit(self, container, seconds=60):
        """Waits for the container's end and returns its status."""
        def ended():
            status = self.status(container)
            return status if status.state == EXITED else None
        return wait_for(ended, f"the end of container {container[:12]}", seconds)

    def stop(self, container, timeout=0, **more):
        self.client.StopContainer(container_id=container, timeout=timeout, **more)

    def exec(self, container, *words, timeout=60, **more):
        return self.client.ExecSync(container_id=container, cmd=list(words), timeout=timeout, **more)

    def exec_sh(self, container, script, **more):
        """Runs a line of shell in the container and returns what it wrote; its failure is the test's."""
        response = self.exec(container, "/bin/sh", "-c", script, **more)
        assert response.exit_code == 0, (response.exit_code, response.stdout, response.stderr)
        return response.stdout.decode()

    def output(self, pod, script, **more):
        """Runs a container to its end and returns what it wrote, as text. By one pipe: two have no order between them."""
        container = self.sh(pod, f"exec 2>&1\n{script}", **more)
        self.wait_exit(container)
        return self.text(pod, container)

    # ---- logs ----

    def log_file(self, container):
        return self.status(container).log_path

    def log(self, container):
        """The log's lines, each (stream, tag, bytes)."""
        return parse_log(self.log_file(container))

    def text(self, pod, container):
        return b"".join(data + (b"\n" if tag == "F" else b"") for _, tag, data in self.log(container)).decode()

    def wait_log(self, container, needle, seconds=60):
        needle = needle if isinstance(needle, bytes) else needle.encode()
        def there():
            path = self.log_file(container)
            return os.path.exists(path) and any(needle in data for _, _, data in parse_log(path))
        wait_for(there, f"{needle!r} in the log of {container[:12]}", seconds)

    # ---- what the kernel says ----

    def pid_of(self, container):
        """The container's first process, once it runs its command: a runtime's start may return a moment before."""
        info = self.client.ContainerStatus(container_id=container, verbose=True).info
        pid = json.loads(info["info"])["pid"]
        wait_for(lambda: not re.search("runc|crun", os.readlink(f"/proc/{pid}/exe")), f"process {pid} to run its command")
        return pid

    def holder_of(self, pod):
        """The process that holds the pod's PID namespace."""
        return json.loads(self.client.PodSandboxStatus(pod_sandbox_id=pod, verbose=True).info["info"])["pid"]


LINE = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([FP]) (.*)", re.S)


def parse_log(path):
    """The lines of a CRI log; anything that is not one fails. A last line still being written is left out."""
    with open(path, "rb") as file:
        raw = file.read()
    lines = []
    for line in raw.split(b"\n")[:-1]:
        match = LINE.fullmatch(line)
        assert match, f"{path}: not a line of a CRI log: {line[:200]!r}"
        lines.append((match[2].decode(), match[3].decode(), match[4]))
    return lines


def monitor_of(container):
    for pid in os.listdir("/proc"):
        try:
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0") if pid.isdigit() else []
        except OSError:
            continue
        if words and words[0] == b"crisp-monitor" and container.encode() in words:
            return int(pid)
    raise AssertionError(f"no monitor of {container}")


def cgroups_of(pid):
    """The cgroup in each hierarchy, by its controllers."""
    with open(f"/proc/{pid}/cgroup") as file:
        return {line.split(":", 2)[1]: line.rstrip("\n").split(":", 2)[2] for line in file}


def memory_cgroup_of(pid):
    """Where its memory is counted."""
    found = cgroups_of(pid)
    return next((path for names, path in found.items() if "memory" in names.split(",")), found.get(""))


def phases(daemon, kind):
    """What the records on disk say, by ID; kind: pods or containers."""
    found = {}
    for path in glob.glob(f"{daemon.state}/{kind}/*/record.json"):
        with open(path, encoding="utf-8") as file:
            found[path.split("/")[-2]] = json.load(file)["phase"]
    return found


def message(name, **fields):
    return getattr(pb, name)(**fields)
