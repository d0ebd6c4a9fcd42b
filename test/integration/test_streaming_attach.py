"""Attach: clients at the container's own streams."""
import os
import signal

import pytest
from kit.wait import wait_for
from streams import attach, bound
from support import KINDS, RUNNING, error_of, monitor_of

pytestmark = pytest.mark.handler

both = pytest.mark.parametrize("transport", ["spdy", "websocket"])
TICK = "n=0; while :; do n=$((n+1)); echo tick $n; echo tock $n >&2; sleep 0.1; done"


def attached(node, container):
    """How many clients the container's monitor serves: it has two descriptors or more for each."""
    return len(os.listdir(f"/proc/{monitor_of(container)}/fd"))


@both
def test_output_from_now_on_and_nothing_from_before(node, transport):
    container = node.sh(node.pod(), "echo before; read go; echo after; echo trouble >&2; exit 3", stdin=True)
    node.wait_log(container, "before")
    session = attach(node, container, transport, stdin=True)
    session.send(b"go\n")
    out, err, status = session.wait()
    assert (out, err) == (b"after\n", b"trouble\n")
    assert b'"Success"' in status  # how the container ended is no failure of the attach
    assert node.wait_exit(container).exit_code == 3
    # Of two pipes nobody knows which was written first.
    assert sorted(node.text(None, container).splitlines()) == ["after", "before", "trouble"]


@both
def test_several_clients_get_the_same(node, transport):
    container = node.sh(node.pod(), "read go; seq 1 2000; exit 0", stdin=True)
    sessions = [attach(node, container, transport, stdin=i == 0) for i in range(5)]
    wait_for(lambda: attached(node, container) >= 4 + 5 * 2, "all to be attached")
    sessions[0].send(b"go\n")
    expected = "".join(f"{i}\n" for i in range(1, 2001)).encode()
    for session in sessions:
        assert session.wait()[0] == expected


def test_a_ninth_client_is_refused_in_words(node):
    before = bound(node, "attach_clients")
    container = node.sleeper(node.pod())
    sessions = [attach(node, container) for _ in range(8)]
    wait_for(lambda: attached(node, container) >= 4 + 8 * 2, "all to be attached")
    status = attach(node, container).status()
    assert status["status"] == "Failure" and "8 clients are attached already" in status["message"]
    assert bound(node, "attach_clients") == before + 1
    for session in sessions:
        session.vanish()
    wait_for(lambda: attached(node, container) <= 8, "the clients to be let go")
    session = attach(node, container)
    session.vanish()


@both
def test_detaching_leaves_the_container_as_it_was(node, transport):
    container = node.sh(node.pod(), TICK, stdin=True)
    idle = attached(node, container)
    for _ in range(3):
        session = attach(node, container, transport, stdin=True)
        session.wait_for("tick")
        session.wait_for("tock", "stderr")
        session.vanish()
    wait_for(lambda: attached(node, container) == idle, "the clients to be let go")
    assert node.status(container).state == RUNNING
    lines = len(node.log(container))
    wait_for(lambda: len(node.log(container)) > lines, "the log to go on")


@both
def test_input_of_several_clients_one_after_the_other(node, transport):
    container = node.sh(node.pod(), "while read line; do echo got $line; done; echo end of input", stdin=True)
    for word in (b"one", b"two"):
        session = attach(node, container, transport, stdin=True)
        session.send(word + b"\n")
        session.wait_for(b"got " + word)
        session.close_stdin()
        session.vanish()
    assert node.status(container).state == RUNNING
    assert "end of input" not in node.text(None, container)


@both
def test_stdin_once_ends_with_the_first_clients_input(node, transport):
    container = node.sh(node.pod(), "cat; echo end of input", stdin=True, stdin_once=True)
    session = attach(node, container, transport, stdin=True)
    session.send(b"x" * 300000 + b"\n")
    session.close_stdin()
    out, _, _ = session.wait()
    assert out == b"x" * 300000 + b"\nend of input\n"


def test_stdin_once_ends_with_a_client_that_vanishes(node):
    container = node.sh(node.pod(), "cat; echo end of input", stdin=True, stdin_once=True)
    session = attach(node, container, stdin=True)
    session.send(b"last words\n")
    session.wait_for("last words")
    session.vanish()
    node.wait_exit(container)
    assert node.text(None, container) == "last words\nend of input\n"


@both
def test_a_container_without_stdin_has_no_input(node, transport):
    container = node.sh(node.pod(), "cat; echo end of input; trap 'exit 0' TERM; while :; do echo on; sleep 0.1; done")
    session = attach(node, container, transport, stdin=True)
    session.send(b"y" * 2000000)  # goes nowhere, and holds up nothing
    session.wait_for("on")
    session.vanish()
    assert "y" not in node.text(None, container)


@both
def test_a_terminal(node, transport):
    container = node.sh(node.pod(), "stty -echo; echo ready; while read line; do echo \"$line:$(stty size)\"; done", tty=True, stdin=True)
    node.wait_log(container, "ready")
    session = attach(node, container, transport, stdin=True, tty=True)
    session.resize(33, 101)
    wait_for(lambda: "33 101" in node.exec_sh(container, "stty size </proc/1/fd/0"), "the terminal's size")
    session.send(b"hello\n")
    session.wait_for("hello:33 101\r\n")
    session.send(b"\x04")  # the end of a terminal's input
    assert b'"Success"' in session.wait()[2]
    assert node.wait_exit(container).exit_code == 0


def test_a_terminal_takes_another_client_with_another_size(node):
    container = node.sh(node.pod(), "trap 'echo redraw $(stty size)' WINCH; echo ready; while :; do sleep 0.1; done",
                        tty=True, stdin=True, stdin_once=True)
    node.wait_log(container, "ready")
    for rows in (20, 30):
        session = attach(node, container, stdin=True, tty=True)
        session.resize(rows + 1, 81)  # as kubectl asks for a picture
        session.resize(rows, 80)
        session.wait_for(f"redraw {rows} 80")
        session.close_stdin()
        session.vanish()
    assert node.status(container).state == RUNNING


def test_a_slow_client_gets_everything_and_the_log_too(node):
    """The container waits for a client that reads slowly, and ends before it has read all."""
    container = node.sh(node.pod(), "read go; seq 1 300000", stdin=True)
    session = attach(node, container, stdin=True, reading=False)
    session.send(b"go\n")
    node.wait_log(container, "\n1000".strip())
    session.start_reading()
    out, _, _ = session.wait()
    expected = "".join(f"{i}\n" for i in range(1, 300001))
    assert out.decode() == expected
    node.wait_exit(container)
    assert node.text(None, container) == expected


def test_a_client_that_reads_nothing_is_let_go(node):
    """It holds up the container for the monitor's patience and no longer, and the log loses nothing."""
    before = bound(node, "attach_patience")
    container = node.sh(node.pod(), "read go; seq 1 1500000; echo the end", stdin=True)
    session = attach(node, container, stdin=True, reading=False)
    other = attach(node, container)
    wait_for(lambda: attached(node, container) >= 4 + 5, "both to be attached")
    session.send(b"go\n")
    node.wait_exit(container, 180)
    lines = [data for _, _, data in node.log(container)]
    assert len(lines) == 1500001 and lines[-1] == b"the end"
    assert other.wait()[0].endswith(b"\n1500000\nthe end\n")
    session.start_reading()
    status = session.status()
    assert status["status"] == "Failure" and "was not taken for too long" in status["message"]
    assert bound(node, "attach_patience") == before + 1


def test_attach_after_the_daemon_was_killed(own_node):
    node = own_node()
    container = node.sh(node.pod(), "while read line; do echo got $line; done", stdin=True)
    session = attach(node, container, stdin=True)
    session.send(b"one\n")
    session.wait_for("got one")
    node.daemon.kill()
    session.sock.close()
    node.daemon.start()
    assert node.status(container).state == RUNNING
    session = attach(node, container, stdin=True)
    session.send(b"two\n")
    session.wait_for("got two")
    assert b"got one" not in session.got["stdout"]
    session.vanish()


def test_the_monitors_death_ends_the_attach(own_node):
    node = own_node()
    container = node.sh(node.pod(), TICK)
    session = attach(node, container)
    session.wait_for("tick")
    os.kill(monitor_of(container), signal.SIGKILL)
    session.wait()


def test_the_containers_end_ends_the_attach(node):
    container = node.sleeper(node.pod())
    sessions = [attach(node, container, transport) for transport in ("spdy", "websocket")]
    wait_for(lambda: attached(node, container) >= 4 + 4, "both to be attached")
    node.stop(container)
    for session in sessions:
        assert session.status()["status"] == "Success"


def test_what_is_refused(node):
    pod = node.pod()
    container = node.create(pod, ["true"])
    error_of(lambda: attach(node, "no-such-container"), KINDS.NOT_FOUND)
    assert "created" in error_of(lambda: attach(node, container), KINDS.FAILED_PRECONDITION).lower()
    node.start(container)
    node.wait_exit(container)
    error_of(lambda: attach(node, container), KINDS.FAILED_PRECONDITION)
    running = node.sleeper(pod, name="second")
    call = node.client.Attach
    error_of(lambda: call(container_id=running, tty=True, stdout=True, stderr=True), KINDS.INVALID_ARGUMENT)
    error_of(lambda: call(container_id=running), KINDS.INVALID_ARGUMENT)
