"""Terminals, input and logs."""
import os

import pytest
from kit.wait import wait_for
from support import KINDS, POD, RUNNING, error_of, parse_log

pytestmark = pytest.mark.handler


def test_tty(node):
    pod = node.pod()
    container = node.sh(pod, "tty; echo out; echo err >&2", tty=True)
    node.wait_exit(container)
    lines = node.log(container)
    assert {stream for stream, _, _ in lines} == {"stdout"}
    text = b"".join(data + b"\n" for _, _, data in lines)
    assert b"/dev/pts/0" in text or b"/dev/console" in text
    assert b"out" in text and b"err" in text


def test_without_stdin_the_input_is_empty(node):
    pod = node.pod()
    assert node.output(pod, "cat; echo end of input") == "end of input\n"


def test_stdin_stays_open(node):
    container = node.sh(node.pod(), "echo waiting; cat; echo closed", stdin=True)
    node.wait_log(container, "waiting")
    assert os.readlink(f"/proc/{node.pid_of(container)}/fd/0") != "/dev/null"
    assert node.status(container).state == RUNNING
    assert node.text(None, container) == "waiting\n"
    node.stop(container)


def test_streams_and_tags(node):
    pod = node.pod()
    container = node.sh(pod, "echo one; echo two >&2; printf 'no end'")
    node.wait_exit(container)
    lines = node.log(container)
    assert [line for line in lines if line[0] == "stdout"] == [("stdout", "F", b"one"), ("stdout", "P", b"no end")]
    assert [line for line in lines if line[0] == "stderr"] == [("stderr", "F", b"two")]


def test_long_lines_are_split_and_lose_nothing(node):
    pod = node.pod()
    container = node.sh(pod, "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end")
    node.wait_exit(container)
    lines = node.log(container)
    assert lines[-1] == ("stdout", "F", b"end")
    parts = lines[:-1]
    assert [tag for _, tag, _ in parts[:-1]] == ["P"] * (len(parts) - 1)
    assert parts[-1][1] == "F"
    assert b"".join(data for _, _, data in parts) == b"x" * 100000
    assert all(len(data) <= 16 << 10 for _, _, data in parts)


def test_empty_lines_and_bytes_of_every_kind(node):
    pod = node.pod()
    container = node.sh(pod, "printf '\\n\\n\\000\\377\\033[1m\\r\\n'")
    node.wait_exit(container)
    assert [data for _, _, data in node.log(container)] == [b"", b"", b"\x00\xff\x1b[1m\r"]


def test_much_output_is_all_there(node):
    pod = node.pod()
    container = node.sh(pod, "seq 1 200000")
    node.wait_exit(container, 120)
    assert [data for _, _, data in node.log(container)] == [str(i).encode() for i in range(1, 200001)]


def test_output_of_a_grandchild_that_outlives_the_first_process(node):
    pod = node.pod(linux=node.namespaces(pid=POD))
    container = node.sh(pod, "(trap '' HUP TERM; sleep 600) & echo done; exit 5")
    assert node.wait_exit(container).exit_code == 5
    assert node.text(pod, container) == "done\n"


def test_reopen_log(node):
    container = node.sh(node.pod(), "n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done")
    path = node.log_file(container)
    wait_for(lambda: os.path.exists(path) and os.path.getsize(path), "a log")
    os.rename(path, path + ".1")
    node.client.ReopenContainerLog(container_id=container)
    wait_for(lambda: os.path.exists(path) and os.path.getsize(path) > 200, "a new log")
    node.stop(container)
    node.wait_exit(container)
    numbers = [int(data) for _, _, data in parse_log(path + ".1") + parse_log(path)]
    assert numbers == list(range(1, len(numbers) + 1)), "a line was lost or came twice"


def test_reopen_of_a_container_that_does_not_run(node):
    pod = node.pod()
    container = node.create(pod, ["true"])
    path = f"{pod[1]['log_directory']}/main/0.log"
    existed = os.path.exists(path)
    error_of(lambda: node.client.ReopenContainerLog(container_id=container), KINDS.FAILED_PRECONDITION, KINDS.UNKNOWN)
    assert os.path.exists(path) == existed
    node.start(container)
    node.wait_exit(container)
    os.rename(path, path + ".1")
    error_of(lambda: node.client.ReopenContainerLog(container_id=container), KINDS.FAILED_PRECONDITION, KINDS.UNKNOWN)
    assert not os.path.exists(path)


@pytest.mark.parametrize("folder", [True, False])
def test_a_container_without_a_log(node, folder):
    """What it writes goes nowhere, and does not hold it up."""
    pod = node.pod() if folder else node.pod(log_directory="")
    command = ["/bin/sh", "-c", "seq 1 100000; seq 1 100000 >&2; exit 7"]
    container = node.client.CreateContainer(
        pod_sandbox_id=pod[0], config=node.container_config(command, log_path=""), sandbox_config=pod[1]
    ).container_id
    node.start(container)
    status = node.wait_exit(container)
    assert (status.exit_code, status.log_path) == (7, "")
    assert not folder or os.listdir(pod[1]["log_directory"]) == []


def test_removing_leaves_the_log(node):
    pod = node.pod()
    container = node.sh(pod, "echo kept")
    node.wait_exit(container)
    path = node.log_file(container)
    node.client.RemoveContainer(container_id=container)
    with open(path) as file:
        assert "kept" in file.read()
