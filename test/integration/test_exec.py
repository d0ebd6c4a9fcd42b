"""ExecSync."""
import json
import os

import pytest
from kit.wait import wait_for
from support import KINDS, RUNNING, error_of

pytestmark = pytest.mark.handler


def test_exec_sync(node):
    container = node.sleeper(node.pod(), envs=[{"key": "MINE", "value": b"1"}], working_dir="/usr")
    answer = node.exec(container, "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 3)
    answer = node.exec(container, "/bin/sh", "-c", "pwd; echo $MINE; id -u")
    assert answer.stdout == b"/usr\n1\n0\n"
    assert node.exec(container, "cat").stdout == b""
    assert node.exec(container, "/bin/sh", "-c", "kill -KILL $$").exit_code == 137


def test_exec_sync_of_a_program_that_is_not_there(node):
    container = node.sleeper(node.pod())
    try:
        assert node.exec(container, "/no/such").exit_code in (126, 127)
    except Exception as e:
        assert "/no/such" in str(e) or "no such file" in str(e).lower()


def test_exec_sync_runs_as_the_containers_user(node):
    container = node.sleeper(node.pod(), linux={"security_context": {"run_as_user": {"value": 1000}}})
    assert node.exec(container, "id", "-u").stdout == b"1000\n"


def test_exec_sync_needs_a_running_container(node):
    pod = node.pod()
    created = node.create(pod, ["true"])
    error_of(lambda: node.exec(created, "true"), KINDS.FAILED_PRECONDITION, KINDS.UNKNOWN)
    node.start(created)
    node.wait_exit(created)
    error_of(lambda: node.exec(created, "true"), KINDS.FAILED_PRECONDITION, KINDS.UNKNOWN)


def process_with(word):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if word.encode() in file.read().split(b"\0"):
                    return int(pid)
        except OSError:  # it has ended
            pass
    return None


@pytest.mark.node
def test_commands_are_in_the_containers_cgroup(node):
    """So that its limits hold for them; and each in one of its own below it, to be killed with all that it started. A shim kills itself."""
    container = node.sleeper(node.pod())
    own = json.loads(node.client.ContainerStatus(container_id=container, verbose=True).info["info"])["cgroupPath"]
    word = str(10_000_000 + os.getpid())  # no other test run of this machine has it
    call = node.client.start("ExecSync", container_id=container, cmd=["sleep", word], timeout=300)
    pid = wait_for(lambda: process_with(word), "the command")
    with open(f"/proc/{pid}/cgroup") as file:
        places = [line.rstrip("\n").split(":", 2) for line in file]
    os.kill(pid, 9)
    assert call.result().exit_code == 137
    # A line without controllers is cgroup v2's, which limits where it is alone.
    limiting = [path for _, controllers, path in places if {"memory", "pids", "cpu"} & set(controllers.split(",")) or len(places) == 1]
    assert limiting and all(f"{path}/".startswith(f"{own}/") for path in limiting), places
    assert node.daemon.handler == "shim" or any(path.startswith(f"{own}/") for _, _, path in places), places


@pytest.mark.node
def test_exec_sync_timeout_kills_all_that_it_started(node):
    container = node.sleeper(node.pod())
    script = "setsid sleep 7654 & (trap '' TERM; sleep 7654) & sleep 7654"
    error_of(lambda: node.exec(container, "/bin/sh", "-c", script, timeout=1, deadline=60), KINDS.DEADLINE_EXCEEDED)
    wait_for(lambda: "7654" not in node.exec_sh(container, "ps -o args"), "the children to be gone")
    assert node.status(container).state == RUNNING


def test_exec_sync_output_is_bounded_and_the_exit_code_kept(node):
    container = node.sleeper(node.pod())
    answer = node.exec(container, "/bin/sh", "-c", "head -c 40000000 /dev/zero; head -c 40000000 /dev/zero >&2; exit 4", timeout=120)
    assert answer.exit_code == 4
    assert len(answer.stdout) + len(answer.stderr) < 16 << 20
    assert len(answer.stdout) > 1 << 20


def test_exec_sync_is_not_held_up_by_one_who_keeps_its_pipes(node):
    container = node.sleeper(node.pod())
    answer = node.exec(container, "/bin/sh", "-c", "setsid sleep 600 & echo here", timeout=0, deadline=100)
    assert (answer.stdout, answer.exit_code) == (b"here\n", 0)


def test_many_execs_at_once(node):
    container = node.sleeper(node.pod())
    calls = [node.client.start("ExecSync", container_id=container, cmd=["echo", str(i)], timeout=60) for i in range(40)]
    assert [int(call.result().stdout) for call in calls] == list(range(40))
