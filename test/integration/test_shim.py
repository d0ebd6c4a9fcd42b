"""Handlers of kind shim, with Debian's containerd-shim-runc-v2: a pod of it beside one of runc in the same daemon."""
import os
import signal

import pytest
from grpc import StatusCode
from kit.paths import program
from kit.wait import wait_for
from support import EXITED, NOTREADY, READY, RUNNING, error_of, parse_log

SHIM = "containerd-shim-runc-v2"


def shim_config(**more):
    lines = f'kind = "shim"\npath = "{program(SHIM)}"\n' + "".join(f"{key} = {value}\n" for key, value in more.items())
    return {"runtime.handlers.other": lines, "runtime.handlers.plain": f'path = "{program("runc")}"\n'}


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


def shim_log(node, container):
    """Without asking the daemon, which may be away."""
    paths = [f"{folder}/{name}" for folder, _, names in os.walk(f"{node.daemon.root}/logs") for name in names]
    with open(f"{node.daemon.state}/containers/{container}/record.json") as file:
        record = file.read()
    return parse_log(next(path for path in paths if path.split("/")[-2] in record and path in record))


def pod_of(node, handler="other", **more):
    config = node.pod_config(**more)
    return node.run_pod(config, handler=handler), config


def test_side_by_side_with_runc(shim):
    node = shim
    ours, theirs = pod_of(node), pod_of(node, "plain")
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


def test_a_terminal(shim):
    pod = pod_of(shim)
    container = shim.sh(pod, "test -t 1 && echo a terminal", tty=True)
    assert shim.wait_exit(container).exit_code == 0
    assert [(stream, data) for stream, _, data in shim.log(container)] == [("stdout", b"a terminal\r")]


def test_signals_and_grace(shim):
    pod = pod_of(shim)
    container = shim.sh(pod, "trap 'echo asked; exit 5' TERM; echo up; while :; do sleep 1000 & wait; done")
    shim.wait_log(container, "up")
    shim.stop(container, timeout=60)
    assert shim.status(container).exit_code == 5
    stubborn = shim.sh(pod, "trap '' TERM; echo up; while :; do sleep 1000; done", name="stubborn")
    shim.wait_log(stubborn, "up")
    shim.stop(stubborn, timeout=1)
    assert shim.status(stubborn).exit_code == 137


def test_a_command_that_does_not_exist(shim):
    pod = pod_of(shim)
    container = shim.create(pod, ["/nosuch"])
    words = error_of(lambda: shim.start(container), StatusCode.UNKNOWN)
    assert "/nosuch" in words and "OCI runtime create failed" in words
    status = shim.status(container)
    assert (status.state, status.exit_code, status.reason) == (EXITED, 128, "StartError")


def test_a_command_is_killed_at_its_timeout(shim):
    container = shim.sleeper(pod_of(shim))
    error_of(lambda: shim.exec(container, "/bin/sh", "-c", "sleep 4351 & sleep 4352", timeout=1), StatusCode.DEADLINE_EXCEEDED)
    assert "435" not in shim.exec_sh(container, "ps")
    assert shim.status(container).state == RUNNING


def test_what_survives_the_daemon(shim):
    """The shim, the monitors and the containers go on; an exit that nobody waited for is known."""
    pod = pod_of(shim)
    running = shim.sh(pod, "echo up; while :; do echo on; sleep 0.2; done", name="running")
    ending = shim.sh(pod, "echo up; until [ -e /tmp/end ]; do sleep 0.1; done; echo last; exit 9", name="ending")
    for container in (running, ending):
        shim.wait_log(container, "up")
    before = shim_pid(shim, pod[0])
    shim.exec_sh(ending, "(sleep 1; touch /tmp/end) >/dev/null 2>&1 &")
    shim.daemon.kill()
    lines = len(shim_log(shim, running))
    wait_for(lambda: b"last" in [data for _, _, data in shim_log(shim, ending)], "the end while nobody is there")
    wait_for(lambda: len(shim_log(shim, running)) > lines, "the log to go on")
    shim.daemon.start()
    assert shim.wait_exit(ending).exit_code == 9
    assert shim.status(running).state == RUNNING
    assert shim.pod_status(pod[0]).state == READY
    assert shim.exec_sh(running, "echo here") == "here\n"
    assert shim_pid(shim, pod[0]) == before
    again = shim.sleeper(pod, name="again")
    shim.wait_log(again, "up")
    shim.remove_pod(pod[0])


def test_what_survives_the_shim(shim):
    """Nothing of its pod, which can be removed; and other pods notice nothing."""
    pod, other = pod_of(shim), pod_of(shim)
    container, bystander = shim.sleeper(pod), shim.sleeper(other)
    shim.wait_log(container, "up")
    pid = shim.pid_of(container)
    os.kill(shim_pid(shim, pod[0]), signal.SIGKILL)
    status = shim.wait_exit(container)
    assert (status.exit_code, status.reason) == (255, "Unknown")
    assert "shim" in status.message
    wait_for(lambda: shim.pod_status(pod[0]).state == NOTREADY, "the pod not to be ready")
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "its process to be gone")
    error_of(lambda: shim.create(pod, ["true"], name="late"), StatusCode.FAILED_PRECONDITION)
    assert shim.status(bystander).state == RUNNING
    assert shim.exec_sh(bystander, "echo here") == "here\n"
    shim.remove_pod(pod[0])


def test_a_shim_that_went_while_the_daemon_was_away(shim):
    pod = pod_of(shim)
    container = shim.sleeper(pod)
    shim.wait_log(container, "up")
    shim.daemon.kill()
    os.kill(shim_pid(shim, pod[0]), signal.SIGKILL)
    shim.daemon.start()
    assert shim.wait_exit(container).exit_code == 255
    wait_for(lambda: shim.pod_status(pod[0]).state == NOTREADY, "the pod not to be ready")
    shim.remove_pod(pod[0])


def test_a_shim_that_hangs(own_node):
    """It holds up its own pod and nothing more, and not for ever."""
    node = own_node(config={**shim_config(), "runtime": "stop_timeout = 1\n"})
    pod, other = pod_of(node), pod_of(node)
    container = node.sleeper(pod)
    node.wait_log(container, "up")
    os.kill(shim_pid(node, pod[0]), signal.SIGSTOP)
    bystander = node.sleeper(other)
    assert node.exec_sh(bystander, "echo here") == "here\n"
    node.client.StopPodSandbox(pod_sandbox_id=pod[0], deadline=120)
    assert node.status(container).state == EXITED
    node.client.RemovePodSandbox(pod_sandbox_id=pod[0], deadline=120)


def test_a_crash_while_a_pod_is_made(shim):
    """What a daemon that was killed had started goes."""
    pod = pod_of(shim)
    shim.daemon.kill()
    path = f"{shim.daemon.state}/pods/{pod[0]}/record.json"
    with open(path) as file:
        record = file.read()
    assert '"ready"' in record
    with open(path, "w") as file:
        file.write(record.replace('"ready"', '"creating"'))
    shim.daemon.start()
    wait_for(lambda: shim_pid(shim, pod[0]) is None, "the shim to be gone")


def test_a_shim_that_is_missing_fails_its_own_pods(own_node):
    node = own_node(config={"runtime.handlers.other": 'kind = "shim"\npath = "/nosuch/containerd-shim-none-v2"\n'})
    words = error_of(lambda: node.run_pod(handler="other"), StatusCode.FAILED_PRECONDITION)
    assert "/nosuch/containerd-shim-none-v2" in words
    assert node.wait_exit(node.sh(pod_of(node, ""), "exit 0")).exit_code == 0


def test_a_shim_that_says_nothing_of_use(own_node, tmp_path):
    for answer, words in (("echo nonsense here", "no address"), ("echo broken >&2; exit 1", "broken"), ("echo unix:///nosuch/socket", "nobody listens|No such file")):
        program = tmp_path / "containerd-shim-broken-v2"
        program.write_text(f"#!/bin/sh\n[ \"$1\" = -v ] && exit 0\n{answer}\n")
        program.chmod(0o755)
        node = own_node(config={"runtime.handlers.other": f'kind = "shim"\npath = "{program}"\n'})
        said = error_of(lambda: node.run_pod(handler="other"), StatusCode.UNKNOWN, StatusCode.INVALID_ARGUMENT, StatusCode.UNAVAILABLE, StatusCode.NOT_FOUND)
        assert any(word in said for word in words.split("|")), said
