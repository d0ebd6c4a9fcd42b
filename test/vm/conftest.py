"""Fixtures: virtual machines with the package installed, and their daemons as a kubelet sees them."""
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../../contrib"), os.path.join(HERE, "../integration")]

from kit import machine as machines  # noqa: E402
from kit.cri import Client, grpc  # noqa: E402
from kit.image import Image, busybox_layer  # noqa: E402
from kit.registry import Registry  # noqa: E402
from kit.wait import wait_for  # noqa: E402
from support import Node  # noqa: E402

SOCKET = "/run/crisp/crisp.sock"


class Guest(Node):
    """The daemon in a machine. What looks at files or processes (logs, pid_of) does so in the machine, with guest.machine.sh."""

    def __init__(self, machine, registry, image):
        self.machine, self.registry, self.image = machine, registry, image
        self.root, self.cgroup, self.client = "/var/log/pods", "", None
        self.daemon = self  # of a Daemon, Node uses root and cgroup
        machine.booted = self.connect
        self.connect()

    def connect(self):
        """After each boot."""
        self.machine.lend(self.registry.port)
        self.client = Client(self.machine.forward(SOCKET))
        wait_for(self.answers, "the daemon to answer", 120, 0.5)

    def answers(self):
        try:
            return self.client.Version(deadline=20).version
        except grpc.RpcError:
            return None

    def pod_config(self, *names, **more):
        config = super().pod_config(*names, **more)
        if not config["linux"]["cgroup_parent"]:
            del config["linux"]["cgroup_parent"]
        return config

    def create(self, pod, command=None, **more):
        return super().create(pod, command, **more)

    def make_folder(self, path):
        self.machine.sh(f"mkdir -p {path}")

    def crisp_pid(self):
        return int(self.machine.sh("systemctl show -p MainPID --value crisp"))

    def log_lines(self, container):
        path = self.status(container).log_path
        return [line.split(" ", 3)[3] for line in self.machine.sh(f"cat {path}").splitlines()]

    def remove_everything(self):
        for container in self.client.ListContainers().containers:
            self.client.StopContainer(container_id=container.id, timeout=0)
            self.client.RemoveContainer(container_id=container.id)
        for pod in self.client.ListPodSandbox().items:
            self.remove_pod(pod.id)


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    with Registry(str(tmp_path_factory.mktemp("registry"))) as registry:
        yield registry


@pytest.fixture(scope="session")
def busybox(registry):
    return registry.push("library/busybox", "1", Image([busybox_layer()]))


@pytest.fixture
def new_machine(tmp_path):
    """Boots a machine of the test's own."""
    made = []

    def make(append=""):
        image, disk = machines.node_disk()
        machine = machines.Machine(image, machines.overlay(disk, f"{tmp_path}/disk{len(made)}.qcow2"), str(tmp_path), append)
        made.append(machine)
        return machine.boot()

    yield make
    for machine in made:
        machine.close()


@pytest.fixture(scope="session")
def shared_machine(tmp_path_factory):
    """The machine of those tests that leave it as they found it."""
    folder = str(tmp_path_factory.mktemp("machine"))
    image, disk = machines.node_disk()
    with machines.Machine(image, machines.overlay(disk, f"{folder}/disk.qcow2"), folder) as machine:
        yield machine.boot()


@pytest.fixture(scope="session")
def shared_guest(shared_machine, registry, busybox):
    guest = Guest(shared_machine, registry, busybox)
    guest.pull(busybox)
    return guest


@pytest.fixture
def guest(shared_guest):
    yield shared_guest
    shared_guest.remove_everything()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed and call.when == "call":
        for machine in list(machines.on):
            try:
                log = machine.sh("journalctl --no-pager -u crisp -n 200 -o cat | grep -v level=debug | tail -n 40", check=False, timeout=120)
            except Exception as e:  # the report goes on without it
                log = f"{type(e).__name__}: {e}"
            report.sections.append((f"the daemon's log in {machine.folder}", log))
            report.sections.append((f"the console of {machine.folder}", machine.console_tail(1500)))
