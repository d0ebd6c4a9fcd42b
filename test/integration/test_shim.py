"""Handlers of kind shim, with Debian's containerd-shim-runc-v2: a pod of it beside one of runc in the same daemon."""
import os

import pytest
from grpc import StatusCode
from kit.paths import program
from kit.wait import wait_for
from support import EXITED, NOTREADY, READY, RUNNING, error_of

SHIM = "containerd-shim-runc-v2"


def shim_config(**more):
    lines = f'kind = "shim"\npath = "{program(SHIM)}"\n' + "".join(f"{key} = {value}\n" for key, value in more.items())
    return {"runtime.handlers.shim": lines}


@pytest.fixture
def shim(own_node):
    return own_node(config=shim_config())


def shim_pid(node, pod):
    """The process of a pod's shim: it is told which pod it serves."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if SHIM.encode() in words[0] and pod.encode() in words:
            return int(pid)
    return None


def pod_of(node, handler="shim", **more):
    config = node.pod_config(**more)
    return node.run_pod(config, handler=handler), config


def test_side_by_side_with_runc(shim):
    node = shim
    ours, theirs = pod_of(node), pod_of(node, "")
    for pod in (ours, theirs):
        container = node.sh(pod, "echo out; echo err >&2; exit 7")
        status = node.wait_exit(container)
        assert (status.exit_code, status.reason) == (7, "Error")
        assert sorted(node.log(container)) == [("stderr", "F", b"err"), ("stdout", "F", b"out")]
    assert shim_pid(node, ours[0]) and not shim_pid(node, theirs[0])


def test_one_shim_for_a_pod(shim):
    pod = pod_of(shim)
    before = shim_pid(shim, pod[0])
    first, second = shim.sleeper(pod, name="first"), shim.sleeper(pod, name="second")
    for container in (first, second):
        shim.wait_log(container, "up")
        assert shim.status(container).state == RUNNING
        assert shim_pid(shim, container) is None
    assert shim_pid(shim, pod[0]) == before
    shim.remove_pod(pod[0])
    assert shim_pid(shim, pod[0]) is None


def test_exec(shim):
    pod = pod_of(shim)
    container = shim.sleeper(pod)
    shim.wait_log(container, "up")
    done = shim.exec(container, "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 3)
    done = shim.exec(container, "/bin/sh", "-c", "cat; head -c 300000 /dev/zero")
    assert (len(done.stdout), done.exit_code) == (300000, 0)
    error_of(lambda: shim.exec(container, "/nosuch"), StatusCode.UNKNOWN)
