"""Pulls in a cgroup of their own, or in their pod's; and that no folder outlives them."""
import os
import signal

import pytest
from kit import hostile, leaks
from kit.wait import wait_for
from support import KINDS, Node, cgroups_of, error_of, memory_cgroup_of, small
from test_box import BLOB, children


def folders(path):
    """All cgroup folders of pulls below path, in whichever hierarchies."""
    found = []
    for root in leaks.cgroup_roots():
        for folder, below, _ in os.walk(root + path):
            found += [os.path.join(folder, name) for name in below if name.startswith("crisp-pull-")]
    return found


def exists(path):
    return any(os.path.isdir(root + path) for root in leaks.cgroup_roots())


class Hung:
    """A pull that hangs in the middle of a layer."""

    def __init__(self, node, bad, pod=None, name="a/b"):
        self.image = bad.put(name, "1", small())
        bad.rule = hostile.on(BLOB, hostile.hang(bad, after=10))
        before = bad.seen(BLOB)
        arguments = {"sandbox_config": pod} if pod else {}
        self.call = node.client.start("PullImage", image={"image": self.image}, deadline=300, **arguments)
        wait_for(lambda: bad.seen(BLOB) > before, "the download to begin")
        (self.helper,) = children(node.daemon.pid, "crisp-image")


@pytest.fixture
def own(own_daemon, busybox):
    """A node with images.pull_cgroup; {cgroup} in it is the test's own."""
    def make(value):
        daemon = own_daemon(start=False)
        daemon.write_config({"images": f'pull_cgroup = "{value.format(cgroup=daemon.cgroup)}"\n'})
        daemon.start()
        return Node(daemon, busybox)
    return make


def pod_of(node, name, make=True):
    """A kubelet's pod: its cgroup, and the configuration that a pull for it has."""
    path = f"{node.daemon.cgroup}/pod-{name}"
    if make:
        node.daemon.make_cgroup(path)
        node.daemon.pod_cgroups = (*getattr(node.daemon, "pod_cgroups", ()), path)
    metadata = {"name": name, "uid": name, "namespace": "default"}
    return path, {"metadata": metadata, "linux": {"cgroup_parent": path}}


def let_go(node, bad, pull):
    """Ends the pull well."""
    bad.rule = None
    pull.call.cancel()
    wait_for(lambda: not children(node.daemon.pid, "crisp-image"), "crisp-image to end")


def test_without_it_pulls_are_in_the_daemons(own, bad):
    node = own("")
    pull = Hung(node, bad)
    assert memory_cgroup_of(pull.helper) == memory_cgroup_of(node.daemon.pid)
    let_go(node, bad, pull)


def test_a_cgroup_for_all_pulls(own, bad):
    node = own("{cgroup}/pulls/all")
    parent = f"{node.daemon.cgroup}/pulls"
    pull = Hung(node, bad)
    assert memory_cgroup_of(pull.helper).startswith(f"{parent}/all/crisp-pull-")
    limits = {"memory", "cpu", "pids", "blkio"}
    for controllers, path in cgroups_of(pull.helper).items():
        if limits & set(controllers.split(",")):
            assert path == memory_cgroup_of(pull.helper), controllers
    assert not children(node.daemon.pid, "crisp-image") == [] and memory_cgroup_of(node.daemon.pid) != memory_cgroup_of(pull.helper)
    let_go(node, bad, pull)
    wait_for(lambda: not exists(parent), "what was made for the pulls to go")
    assert node.client.PullImage(image={"image": pull.image}).image_ref
    assert not exists(parent)


def test_a_cgroup_that_was_there_stays(own, bad):
    node = own("{cgroup}/limits")
    node.daemon.make_cgroup(f"{node.daemon.cgroup}/limits")
    node.daemon.pod_cgroups = (f"{node.daemon.cgroup}/limits",)
    name = bad.put("a/b", "1", small())
    assert node.client.PullImage(image={"image": name}).image_ref
    assert exists(f"{node.daemon.cgroup}/limits") and not folders(node.daemon.cgroup)


def test_the_pods_cgroup(own, bad):
    node = own("pod")
    path, pod = pod_of(node, "a")
    pull = Hung(node, bad, pod)
    assert memory_cgroup_of(pull.helper).startswith(f"{path}/crisp-pull-")
    let_go(node, bad, pull)
    wait_for(lambda: not folders(node.daemon.cgroup), "the pull's folder to go")
    assert exists(path)


def test_pulls_for_two_pods_are_each_in_their_own(own, bad):
    """And each layer comes once: the second one goes on where the first one's pod is gone."""
    node = own("pod")
    _, first = pod_of(node, "a")
    path, second = pod_of(node, "b")
    pull = Hung(node, bad, first)
    other = node.client.start("PullImage", image={"image": pull.image}, sandbox_config=second, deadline=300)
    wait_for(lambda: len(children(node.daemon.pid, "crisp-image")) == 2, "both to run")
    (helper,) = set(children(node.daemon.pid, "crisp-image")) - {pull.helper}
    assert memory_cgroup_of(helper).startswith(f"{path}/crisp-pull-")
    bad.rule = None
    os.kill(pull.helper, signal.SIGKILL)  # as the kubelet does with what it finds in a pod that goes
    assert "crisp-pull-" in error_of(pull.call.result, KINDS.INTERNAL)
    assert other.result().image_ref
    assert not folders(node.daemon.cgroup)


@pytest.mark.parametrize("pod", ["none", "gone"])
def test_a_pull_for_no_pod_is_in_the_daemons(own, bad, pod):
    node = own("pod")
    path, config = pod_of(node, "gone", make=False)
    pull = Hung(node, bad, config if pod == "gone" else None)
    assert memory_cgroup_of(pull.helper) == memory_cgroup_of(node.daemon.pid)
    let_go(node, bad, pull)
    assert not exists(path)


def test_a_pod_that_goes_during_its_pull(own, bad):
    """Its cgroup is taken away, with whatever runs there."""
    node = own("pod")
    path, pod = pod_of(node, "a")
    pull = Hung(node, bad, pod)
    os.kill(pull.helper, signal.SIGKILL)
    error_of(pull.call.result, KINDS.INTERNAL)
    for root in leaks.cgroup_roots():
        if os.path.isdir(root + path):
            os.rmdir(root + path)
    bad.rule = None
    assert node.client.PullImage(image={"image": pull.image}, sandbox_config=pod).image_ref
    assert not exists(path)


@pytest.mark.parametrize("survives", [True, False])
def test_the_daemons_crash_leaves_no_folder(own, bad, survives):
    node = own("{cgroup}/pulls")
    parent = f"{node.daemon.cgroup}/pulls"
    pull = Hung(node, bad)
    node.daemon.kill()
    if not survives:
        os.kill(pull.helper, signal.SIGKILL)
    node.daemon.start()
    if survives:
        assert memory_cgroup_of(pull.helper).startswith(f"{parent}/crisp-pull-")
        os.kill(pull.helper, signal.SIGKILL)
    wait_for(lambda: not exists(parent), "the folder of the earlier daemon's pull to go")
    assert not os.listdir(f"{node.daemon.run}/pulls")


def test_one_whose_record_is_broken_is_told(own):
    node = own("{cgroup}/pulls")
    node.daemon.terminate()
    os.makedirs(f"{node.daemon.run}/pulls", exist_ok=True)
    with open(f"{node.daemon.run}/pulls/x", "w") as file:
        file.write("{")
    node.daemon.start()
    assert "record of a pull's cgroup cannot be read" in node.daemon.log_tail(100)
    assert not os.listdir(f"{node.daemon.run}/pulls")


@pytest.mark.parametrize("value", ["/", "pulls", "/a/../b", "pod/x"])
def test_what_is_no_cgroup_is_refused(own_daemon, value):
    daemon = own_daemon(start=False, config={"images": f'pull_cgroup = "{value}"\n'})
    daemon.start(wait=False)
    assert daemon.process.wait(60) != 0
    daemon.process = None
    assert "images.pull_cgroup" in daemon.log_tail(100)
