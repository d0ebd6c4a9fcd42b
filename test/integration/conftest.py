"""Fixtures: a daemon of the tests' own, a registry with images, and the check that nothing is left after each test."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../contrib"))

from kit import leaks, legacy_cgroups  # noqa: E402
from kit.daemon import Daemon  # noqa: E402
from kit.hostile import HostileRegistry  # noqa: E402
from kit.image import Image, busybox_layer  # noqa: E402
from kit.paths import program  # noqa: E402
from kit.registry import Registry  # noqa: E402
from kit.wait import wait_for  # noqa: E402
from recorder import Recorder  # noqa: E402
from support import Node  # noqa: E402


def interrupt(*_):
    raise KeyboardInterrupt


def pytest_configure(config):
    # Who is told to end, by a deadline for instance, still takes down what he started.
    signal.signal(signal.SIGTERM, interrupt)
    # A shell that starts us in the background has us ignore it, and so would what we start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Before there are threads or workers: all of the tests are to be in one mount namespace.
    handler = config.getoption("--handler")
    if handler and handler != "shim" and legacy_cgroups.needed(program(handler)):
        legacy_cgroups.enter()


def pytest_addoption(parser):
    parser.addoption("--build", default=os.environ.get("CRISP_BUILD", "build"), help="the build folder under test")
    parser.addoption("--handler", default=None, help="runc, crun or shim")


running = []  # the daemons of this moment, for the report of a failure


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for daemon in running:
            report.sections.append((f"the end of the log of {daemon.root}", daemon.log_tail()))


@pytest.fixture(scope="session")
def build(request):
    return request.config.getoption("--build")


@pytest.fixture(scope="session")
def handler(request):
    return request.config.getoption("--handler")


@pytest.fixture(scope="session")
def workdir():
    folder = tempfile.mkdtemp(prefix="crisp-tests-", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def registry(workdir):
    with Registry(f"{workdir}/registry") as registry:
        yield registry


@pytest.fixture(scope="session")
def busybox_image():
    return Image([busybox_layer()])


@pytest.fixture(scope="session")
def busybox(registry, busybox_image):
    """The name to pull a busybox by."""
    return registry.push("library/busybox", "1", busybox_image)


@pytest.fixture(scope="session")
def layer():
    """A busybox layer to build further images on; always the same, so that it is stored once."""
    return busybox_layer()


@pytest.fixture(scope="session")
def syscalls(workdir):
    """A static program that makes system calls by name (syscalls.c)."""
    path = f"{workdir}/syscalls"
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "syscalls.c")
    subprocess.run([program("gcc"), "-std=gnu17", "-O1", "-static", "-o", path, source], check=True)
    return path


class Shared:
    """One daemon for all tests that do not need one of their own; made again where a test brought it down."""

    def __init__(self, build, handler):
        self.build, self.handler, self.daemon = build, handler, None

    def get(self):
        if self.daemon and not self.daemon.alive():
            self.drop()
        if not self.daemon:
            self.daemon = Daemon(self.build, self.handler)
            running.append(self.daemon)
            self.daemon.start()
        return self.daemon

    def drop(self):
        daemon, self.daemon = self.daemon, None
        if not daemon:
            return []
        running.remove(daemon)
        return daemon.destroy()


@pytest.fixture(scope="session")
def shared(build, handler):
    shared = Shared(build, handler)
    yield shared
    left = shared.drop()
    assert not left, "left after the last test:\n" + "\n".join(left)


def _finish(daemon):
    """After a test: all of its pods go, and nothing may be left of them."""
    assert daemon.alive(), f"the daemon ended with {daemon.process.returncode}:\n{daemon.log_tail()}"
    daemon.remove_everything()
    left = leaks.find_soon(daemon)
    report = daemon.sanitizer_report()
    if left:
        pytest.fail("left behind:\n" + "\n".join(left), pytrace=False)
    if report:
        pytest.fail(report, pytrace=False)
    daemon.ids.clear()


@pytest.fixture
def daemon(shared):
    """The shared daemon, running."""
    daemon = shared.get()
    yield daemon
    try:
        _finish(daemon)
    except BaseException:
        shared.drop()
        raise


@pytest.fixture
def own_daemon(build, handler):
    """Makes daemons for this test alone: own_daemon(config={...}, network=False, start=False)."""
    made = []

    def make(config=None, network=True, start=True, **more):
        daemon = Daemon(build, handler, config=config or {}, network=network, **more)
        made.append(daemon)
        running.append(daemon)
        if start:
            daemon.start()
        return daemon

    yield make
    problems = []
    for daemon in made:
        try:
            if daemon.process:
                if not daemon.alive():
                    daemon.start()
                _finish(daemon)
        except (Exception, pytest.fail.Exception) as e:  # each daemon is taken down, whatever the one before did
            problems.append(f"{e}\n{daemon.log_tail()}")
        running.remove(daemon)
        left = daemon.destroy()
        if left and not problems:
            problems.append("left after its end:\n" + "\n".join(left))
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def node(daemon, busybox):
    """The shared daemon with a busybox pulled, and shorthands to run pods in it."""
    return Node(daemon, busybox)


@pytest.fixture
def own_node(own_daemon, busybox):
    """A daemon for this test alone, with a busybox pulled."""
    def make(**more):
        return Node(own_daemon(**more), busybox)
    return make


@pytest.fixture
def recording(own_daemon, busybox):
    def make(network=None, capabilities=None, plugin=None, config=None):
        daemon = own_daemon(start=False, network=False, config=config or {})
        recorder = Recorder(daemon)
        daemon.write_network({
            "cniVersion": "1.0.0", "name": f"net{daemon.tag}", **(network or {}),
            "plugins": [{"type": "recorder", "capabilities": capabilities or {}, **(plugin or {})}],
        })
        daemon.start()
        return Node(daemon, busybox), recorder
    return make


@pytest.fixture
def bad():
    """A registry that misbehaves as it is told to."""
    with HostileRegistry() as registry:
        yield registry


def layer_folders(daemon):
    found = []
    for folder, folders, _ in os.walk(f"{daemon.state}/images"):
        if folder.endswith("/layers"):
            found += [f"{folder}/{name}" for name in folders]
            folders.clear()
    return found


@pytest.fixture
def no_images_left(node):
    """After the test every image is removed, and then no layer may be left, whole or partial."""
    yield
    if node.daemon.alive():
        node.daemon.remove_everything()
        for image in node.client.ListImages().images:
            node.client.RemoveImage(image={"image": image.id})
        assert not node.client.ListImages().images
        wait_for(lambda: not layer_folders(node.daemon), "layers and partial downloads to be gone")


@pytest.fixture
def image(registry, layer):
    """Pushes a variant of busybox and returns its name: image("name", config={...}, extra=[Layer...])."""
    def make(name, config=None, extra=(), format="oci", tag="1"):
        return registry.push(f"test/{name}", tag, Image([layer, *extra], config, format))
    return make

