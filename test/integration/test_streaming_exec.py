"""Exec: commands whose streams are the client's, over SPDY and WebSockets."""
import json
import os
import socket
import struct
import subprocess
import time

import pytest
from kit.wait import wait_for
from spdy import SYN_STREAM, control
from streams import (Refused, SpdySession, WebSession, WebSocket, bound, connect, exec_url, forward, request, run, sessions, streams_of)
from support import KINDS, RUNNING, error_of

pytestmark = pytest.mark.handler

both = pytest.mark.parametrize("transport", ["spdy", "websocket"])


def processes(node, container):
    return node.exec_sh(container, "ps -o args")


@both
def test_streams_and_exit_code(node, transport):
    container = node.sleeper(node.pod())
    session = run(node, container, "echo out; echo err >&2; cat; exit 3", transport, stdin=True)
    session.send(b"in\n")
    session.close_stdin()
    out, err, status = session.wait()
    assert (out, err) == (b"out\nin\n", b"err\n")
    status = json.loads(status)
    assert status["reason"] == "NonZeroExitCode" and status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert run(node, container, "true", transport).status() == {"metadata": {}, "status": "Success"}
    assert run(node, container, "kill -9 $$", transport).status()["details"]["causes"][0]["message"] == "137"


@both
@pytest.mark.parametrize("wanted", ["i", "o", "e", "io", "ie", "oe", "ioe", "t", "it"])
def test_each_combination_of_streams(node, transport, wanted):
    container = node.sleeper(node.pod())
    tty = "t" in wanted
    flags = {"stdin": "i" in wanted, "stdout": "o" in wanted or tty, "stderr": "e" in wanted, "tty": tty}
    session = run(node, container, "read line; echo out $line; echo err >&2; exit 5", transport, **flags)
    if flags["stdin"]:
        session.send(b"word\n")
    elif tty:
        session.vanish()
        return
    out, err, status = session.wait()
    assert json.loads(status)["details"]["causes"][0]["message"] == "5"
    if tty:
        assert b"out word\r\nerr\r\n" in out
    else:
        assert out == ((b"out word\n" if flags["stdin"] else b"out\n") if flags["stdout"] else b"")
        assert err == (b"err\n" if flags["stderr"] else b"")


@both
def test_a_terminal_and_its_size(node, transport):
    container = node.sleeper(node.pod())
    session = run(node, container, "test -t 0 && test -t 1 && echo terminal; stty size; read x; stty size; exit 4", transport,
                  stdin=True, tty=True)
    session.resize(31, 97)
    session.wait_for("terminal")
    session.resize(41, 133)
    wait_for(lambda: "41 133" in node.exec_sh(container, "for t in /dev/pts/[0-9]*; do stty size <$t; done"), "the new size")
    session.send(b"\n")
    out, _, status = session.wait()
    assert b"41 133\r\n" in out
    assert json.loads(status)["details"]["causes"][0]["message"] == "4"


@both
def test_the_end_of_stdin_ends_cat(node, transport):
    container = node.sleeper(node.pod())
    session = run(node, container, "cat | wc -c", transport, stdin=True)
    session.send(b"z" * 1000000)
    session.close_stdin()
    assert session.wait()[0].strip() == b"1000000"


@both
def test_a_client_that_vanishes_takes_its_command_along(node, transport):
    container = node.sleeper(node.pod())
    run(node, container, "true", transport).wait()  # the server's threads have their descriptors
    wait_for(lambda: sessions(node) == 0, "the first session's end")
    before = len(os.listdir(f"/proc/{node.daemon.pid}/fd"))
    session = run(node, container, "(setsid sleep 4711 & trap '' HUP PIPE TERM; sleep 4711) & echo up; sleep 4711", transport, stdin=True)
    session.wait_for("up")
    session.vanish()
    wait_for(lambda: "4711" not in processes(node, container), "the command's end")
    wait_for(lambda: sessions(node) == 0, "the session's end")
    wait_for(lambda: len(os.listdir(f"/proc/{node.daemon.pid}/fd")) <= before, "its descriptors to be closed")
    assert node.status(container).state == RUNNING


@both
def test_a_command_that_does_not_exist(node, transport):
    container = node.sleeper(node.pod())
    status = run(node, container, ["/no/such"], transport).status()
    assert status["status"] == "Failure" and "/no/such" in status["message"]


@both
def test_a_slow_reader_holds_back_only_itself(node, transport):
    container = node.sleeper(node.pod())
    slow = run(node, container, "head -c 100000000 /dev/zero", transport, reading=False)
    assert run(node, container, "head -c 10000000 /dev/zero | tr '\\0' x", transport).wait()[0] == b"x" * 10000000
    if not node.daemon.sanitized:  # they keep what was freed
        assert resident(node) < 150 << 20
    slow.start_reading()
    assert len(slow.wait()[0]) == 100000000


def resident(node):
    return int(open(f"/proc/{node.daemon.pid}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@both
def test_what_a_child_holds_open_does_not_hold_up_the_end(node, transport):
    container = node.sleeper(node.pod())
    session = run(node, container, "setsid sleep 600 & echo here", transport)
    out, _, status = session.wait()
    assert out == b"here\n" and b"Success" in status


# ---- protocols ----

@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"])
def test_spdy_protocols(node, protocol):
    container = node.sleeper(node.pod())
    session = run(node, container, "echo out; exit 2", protocols=[protocol])
    assert session.protocol == protocol
    out, _, status = session.wait()
    assert out == b"out\n"
    if protocol.startswith("v4"):
        assert json.loads(status)["details"]["causes"][0]["message"] == "2"
    else:
        assert status == b"command terminated with non-zero exit code: exit status 2"


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io",
                                      "base64.channel.k8s.io", None])
def test_websocket_protocols(node, protocol):
    container = node.sleeper(node.pod())
    session = run(node, container, "read x; echo got $x; exit 2", "websocket", protocols=[protocol] if protocol else [], stdin=True)
    assert session.protocol == protocol
    session.send(b"word\n")
    out, _, status = session.wait()
    assert out == b"got word\n"
    if protocol and protocol[:2] in ("v4", "v5"):
        assert json.loads(status)["details"]["causes"][0]["message"] == "2"
    else:
        assert status == b"command terminated with non-zero exit code: exit status 2"


def test_the_clients_first_choice_that_we_speak_counts(node):
    container = node.sleeper(node.pod())
    session = run(node, container, "true", protocols=["v9.channel.k8s.io", "v3.channel.k8s.io", "v4.channel.k8s.io"])
    assert session.protocol == "v3.channel.k8s.io"
    session.wait()


def test_protocols_that_nobody_speaks(node):
    container = node.sleeper(node.pod())
    with pytest.raises(Refused) as refused:
        run(node, container, "true", protocols=["v9.channel.k8s.io"])
    assert refused.value.status == 403
    accepted = [value for name, value in refused.value.headers if name == "X-Accepted-Stream-Protocol-Versions"]
    assert accepted == ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"]
    with pytest.raises(Refused) as refused:
        run(node, container, "true", "websocket", protocols=["v9.channel.k8s.io"])
    assert refused.value.status == 403


def test_pings_are_answered(node):
    container = node.sleeper(node.pod())
    session = run(node, container, "cat", stdin=True)
    session.spdy.ping(7)
    wait_for(lambda: session.spdy.pongs == [7], "the answer to a ping")
    session.vanish()


# ---- URLs ----

def test_an_url_is_good_once(node):
    container = node.sleeper(node.pod())
    url = exec_url(node, container, "true")
    assert url.startswith("http://127.0.0.1:")
    assert SpdySession(url, streams_of()).status()["status"] == "Success"
    with pytest.raises(Refused) as refused:
        SpdySession(url, streams_of())
    assert refused.value.status == 404


def test_an_address_and_a_port_of_ones_own(own_node):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
    node = own_node(config={"streaming": f'address = "::1"\nport = {port}\n'})
    container = node.sleeper(node.pod())
    url = exec_url(node, container, "echo six")
    assert url.startswith(f"http://[::1]:{port}/exec/")
    assert SpdySession(url, streams_of()).wait()[0] == b"six\n"
    assert b"six" in WebSession(exec_url(node, container, "echo six"), streams_of()).wait()[0]


def test_wrong_tokens_and_paths(node):
    container = node.sleeper(node.pod())
    url = exec_url(node, container, "true")
    base, token = url.rsplit("/", 1)
    port = url.split("/")[2]
    for wrong in (f"{base}/{'0' * 32}", f"{base}/{token[:-1]}", f"{base}/{token}0", f"{base}/", f"http://{port}/attach/{token}",
                  f"http://{port}/", f"http://{port}/exec/..%2fexec%2f{token}"):
        sock, status, _, _ = request(wrong, [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")])
        assert status == 404, wrong
        sock.close()
    assert SpdySession(url, streams_of()).status()["status"] == "Success"


def test_a_request_that_is_no_upgrade_uses_the_url_up(node):
    container = node.sleeper(node.pod())
    url = exec_url(node, container, "true")
    sock, status, _, text = request(url, [], "GET")
    assert status == 400 and b"unable to upgrade" in text
    sock.close()
    with pytest.raises(Refused):
        SpdySession(url, streams_of())


def test_what_is_refused(node):
    pod = node.pod()
    container = node.sleeper(pod)
    call = node.client.Exec
    error_of(lambda: call(container_id=container, cmd=["true"], tty=True, stdout=True, stderr=True), KINDS.INVALID_ARGUMENT)
    error_of(lambda: call(container_id=container, cmd=["true"]), KINDS.INVALID_ARGUMENT)
    error_of(lambda: call(container_id=container, stdout=True), KINDS.INVALID_ARGUMENT)
    error_of(lambda: call(container_id="no-such", cmd=["true"], stdout=True), KINDS.NOT_FOUND)
    created = node.create(pod, ["true"], name="second")
    error_of(lambda: call(container_id=created, cmd=["true"], stdout=True), KINDS.FAILED_PRECONDITION)


def test_the_container_ends_before_the_client_comes(node):
    container = node.sleeper(node.pod())
    url = exec_url(node, container, "true")
    node.stop(container)
    status = SpdySession(url, streams_of()).status()
    assert status["status"] == "Failure" and "exited" in status["message"].lower()


# ---- bounds ----

def test_too_many_sessions(own_node):
    node = own_node(config={"streaming": "max_sessions = 3"})
    container = node.sleeper(node.pod())
    open_ones = [run(node, container, "cat", stdin=True) for _ in range(3)]
    with pytest.raises(Refused) as refused:
        run(node, container, "true")
    assert refused.value.status == 503 and "streaming.max_sessions" in refused.value.text
    assert bound(node, "sessions") == 1
    open_ones.pop().vanish()
    wait_for(lambda: sessions(node) == 2, "a session's end")
    assert run(node, container, "true").status()["status"] == "Success"
    for session in open_ones:
        session.vanish()


def test_too_many_urls(own_node):
    node = own_node()
    container = node.sleeper(node.pod())
    calls = [node.client.start("Exec", container_id=container, cmd=["true"], stdout=True) for _ in range(1000)]
    for call in calls:
        call.result()
    assert "1000 streaming URLs" in error_of(lambda: exec_url(node, container, "true"), KINDS.RESOURCE_EXHAUSTED)
    assert bound(node, "offers") == 1


def test_a_session_without_a_byte_ends(own_node):
    node = own_node(config={"streaming": "idle_timeout = 2"})
    container = node.sleeper(node.pod())
    session = run(node, container, "echo up; sleep 4712")
    session.wait()
    wait_for(lambda: "4712" not in processes(node, container), "the command's end")
    assert bound(node, "idle_time") == 1


@pytest.mark.slow
def test_streams_that_never_come_are_not_waited_for(node):
    """Nothing was started for such a client; of a forwarded connection its half is refused."""
    pod = node.pod()
    container = node.sleeper(pod)
    before = bound(node, "streams_time")
    session = SpdySession(exec_url(node, container, "echo here >/tmp/here", stdin=True), [])
    forwarder = forward(node, pod[0])
    half = forwarder.spdy.open({"streamtype": "data", "port": "7000", "requestid": "1"})
    assert "timed out" in session.status()["message"]
    wait_for(lambda: half in forwarder.refused, "the half to be refused")
    assert bound(node, "streams_time") == before + 2
    assert node.exec(container, "test", "-e", "/tmp/here").exit_code != 0
    forwarder.vanish()


@both
def test_a_client_that_does_not_close_is_let_go(node, transport):
    container = node.sleeper(node.pod())
    before = bound(node, "goodbye_time")
    session = run(node, container, "echo done", transport)
    session.wait_for("done")
    wait_for(lambda: bound(node, "goodbye_time") == before + 1, "the bound to be reached")
    wait_for(lambda: sessions(node) == 0, "the session's end")
    session.vanish()


def test_a_request_head_that_is_too_big(node):
    container = node.sleeper(node.pod())
    before = bound(node, "request_size")
    url = exec_url(node, container, "true")
    try:
        sock, status, _, _ = request(url, [("X-Much", "y" * 40000)])
        assert status in (413, 431)
        sock.close()
    except (EOFError, OSError):
        pass  # cut off in the middle of it
    wait_for(lambda: bound(node, "request_size") == before + 1, "the bound to be counted")


@pytest.mark.slow
def test_a_request_byte_by_byte_is_cut_off(node):
    before = bound(node, "request_time")
    container = node.sleeper(node.pod())
    sock = connect(exec_url(node, container, "true"))
    ended = None
    for _ in range(120):
        try:
            sock.sendall(b"G" if ended is None else b"x")
            ended = True
            time.sleep(1)
        except OSError:
            break
    assert bound(node, "request_time") == before + 1


def must_end(session):
    wait_for(lambda: "connection" in session.ended, "the connection's end")


def test_headers_that_inflate_to_too_much(node):
    container = node.sleeper(node.pod())
    before = bound(node, "headers")
    for headers in ({"a": "x" * 20000}, {str(i): "" for i in range(65)}):
        session = run(node, container, "cat", stdin=True)
        session.spdy.open(headers)
        must_end(session)
    # A bomb: 60 KiB that inflate to 50 MiB.
    session = run(node, container, "cat", stdin=True)
    bomb = session.spdy.compress(b"\0" * (50 << 20))[:60000]
    session._send(control(SYN_STREAM, struct.pack(">IIH", 101, 0, 0) + bomb))
    must_end(session)
    assert bound(node, "headers") == before + 3
    assert run(node, container, "true").status()["status"] == "Success"


def test_a_control_frame_that_is_too_big(node):
    container = node.sleeper(node.pod())
    before = bound(node, "control_frame")
    session = run(node, container, "cat", stdin=True)
    session._send(struct.pack(">HHI", 0x8003, SYN_STREAM, 0xFFFFFF))
    must_end(session)
    assert bound(node, "control_frame") == before + 1


def test_a_window_that_is_too_big(node):
    container = node.sleeper(node.pod())
    before = bound(node, "window")
    session = run(node, container, "cat", stdin=True)
    for _ in range(2):
        session._send(control(9, struct.pack(">II", 0, 0x7FFFFFFF)))
    must_end(session)
    assert bound(node, "window") == before + 1


def test_a_peer_with_windows_gets_no_more_than_they_allow(node):
    container = node.sleeper(node.pod())
    session = run(node, container, "read go; head -c 1000000 /dev/zero", stdin=True)
    session._send(control(9, struct.pack(">II", 0, 1)))  # it keeps windows, of 64 KiB and a byte
    session.spdy.ping(3)
    wait_for(lambda: session.spdy.pongs, "the answer")
    session.send(b"go\n")
    wait_for(lambda: len(session.got["stdout"]) == 65536, "a window's worth")
    session._send(control(9, struct.pack(">II", 0, 2000000)) + control(9, struct.pack(">II", session.streams["stdout"], 2000000)))
    assert len(session.wait()[0]) == 1000000


def test_too_many_streams(node):
    pod, _ = node.pod()
    before = bound(node, "streams")
    forwarder = forward(node, pod)
    for i in range(1030):
        forwarder.spdy.open({"streamtype": "data", "port": "1", "requestid": str(i)})
    wait_for(lambda: bound(node, "streams") == before + 6, "the bound")
    forwarder.vanish()


def test_rubbish_after_the_upgrade(node):
    container = node.sleeper(node.pod())
    for rubbish in (b"\x80\x02\0\1\0\0\0\0", os.urandom(5000), b"GET / HTTP/1.1\r\n\r\n" * 50):
        session = run(node, container, "cat", stdin=True)
        session._send(rubbish)
        session._send(b"\x80\x07\0\1\0\0\0\0")
        wait_for(lambda: session.ended or True, "")
        session.vanish()
    web = WebSocket(exec_url(node, container, "cat", stdin=True), ["v5.channel.k8s.io"])
    web.sock.sendall(os.urandom(5000))
    web.sock.close()
    assert run(node, container, "true").status()["status"] == "Success"
    wait_for(lambda: sessions(node) == 0, "the sessions' ends")


# ---- the daemon's end ----

def test_the_daemon_is_killed_under_a_session(own_node):
    """The command loses its streams; the container, and what else runs in it, does not notice."""
    node = own_node()
    container = node.sleeper(node.pod())
    session = run(node, container, "echo up; cat; echo over >/tmp/over", stdin=True)
    session.wait_for("up")
    node.daemon.kill()
    wait_for(lambda: "connection" in session.ended, "the connection's end")
    node.daemon.start()
    assert node.status(container).state == RUNNING
    node.exec_sh(container, "while ! test -e /tmp/over; do sleep 0.1; done")  # its input ended
    assert run(node, container, "true").status()["status"] == "Success"


@both
def test_the_containers_end_ends_its_sessions(node, transport):
    container = node.sleeper(node.pod())
    session = run(node, container, "echo up; sleep 4713", transport)
    session.wait_for("up")
    node.stop(container)
    session.wait()
    wait_for(lambda: sessions(node) == 0, "the session's end")


def test_explain_shows_open_sessions(node):
    container = node.sleeper(node.pod())
    explain = [node.daemon.crisp, "explain", "--socket", node.daemon.socket]
    opened = [run(node, container, "echo up; cat", stdin=True) for _ in range(2)]
    for session in opened:
        session.wait_for("up")
    assert "2 sessions" in subprocess.run(explain, capture_output=True, text=True, check=True).stdout
    for session in opened:
        session.vanish()
    wait_for(lambda: "session" not in subprocess.run(explain, capture_output=True, text=True).stdout, "none to be shown")
