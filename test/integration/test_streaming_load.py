"""Streams under load: much each way, many at once, and whatever is killed in the middle."""
import hashlib
import os
import signal
import subprocess
import sys
import threading

import pytest
from kit.wait import wait_for
from streams import WebForwarder, attach, forward, run, sample, sessions
from support import RUNNING, monitor_of, parse_log
from test_port_forward import server

both = pytest.mark.parametrize("transport", ["spdy", "websocket"])
AMOUNT = int(os.environ.get("CRISP_STREAM_BYTES", 32 << 20)) >> 23 << 23  # each way, at least
LONG = 600 + AMOUNT / 1e6  # seconds that it may take at the very most
GROWTH = 8 << 20  # bytes of memory that a stream may take, however much goes through it
PORT = 7000


class Tally:
    """Takes bytes as a bytearray does, and keeps their number and digest alone."""

    def __init__(self):
        self.count, self.digest = 0, hashlib.md5()

    def extend(self, part):
        self.count += len(part)
        self.digest.update(part)
        return self

    __iadd__ = extend

    def __len__(self):
        return self.count

    def __getitem__(self, _):
        return b""

    def __bytes__(self):
        return b""

    def sum(self):
        return self.digest.hexdigest()


def blocks():
    """AMOUNT bytes, of which no two blocks are alike."""
    pool = os.urandom((1 << 20) + 251)
    for i in range(AMOUNT >> 20):
        yield pool[i % 251:(i % 251) + (1 << 20)]


def send_all(send):
    sent = Tally()
    for block in blocks():
        send(block)
        sent.extend(block)
    return sent.sum()


def pss(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(next(line for line in file if line.startswith("Pss:")).split()[1]) << 10


class Watched:
    """Looks at how much memory processes have while a block of code runs; none may grow."""

    def __init__(self, node, *pids):
        self.pids = [] if node.daemon.sanitized else [node.daemon.pid, *pids]  # sanitizers keep what was freed

    def __enter__(self):
        self.before = [pss(pid) for pid in self.pids]
        self.most = list(self.before)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self):
        while not self.over.wait(0.2):
            self.most = [max(most, pss(pid)) for most, pid in zip(self.most, self.pids)]

    def __exit__(self, kind, *_):
        self.over.set()
        self.thread.join()
        if kind is None:
            for before, most in zip(self.before, self.most):
                assert most - before < GROWTH, f"{before} grew to {most}"


# Both directions at once, and the sums of both. What reads the input is in the foreground: a shell gives others none. A block of random
# bytes over and over with its number, for making them costs more than moving them.
CONVERSE = f"""mkfifo /tmp/pipe
md5sum </tmp/pipe >/tmp/out &
dd if=/dev/urandom of=/tmp/block bs=1M count=8 2>/dev/null
for i in $(seq {AMOUNT >> 23}); do echo $i; cat /tmp/block; done | tee /tmp/pipe &
md5sum >/tmp/in
wait; touch /tmp/done; """


def sums(node, container):
    wait_for(lambda: node.exec(container, "test", "-e", "/tmp/done").exit_code == 0, "the sums", LONG)
    return node.exec_sh(container, "cut -c-32 /tmp/in /tmp/out").split()


@both
def test_exec_much_each_way(node, transport):
    container = node.sleeper(node.pod())
    run(node, container, "true", transport).wait()  # all threads are there
    with Watched(node):
        session = run(node, container, CONVERSE, transport, stdin=True, reading=False)
        got = session.got["stdout"] = Tally()
        session.start_reading()
        sent = send_all(session.send)
        session.close_stdin()
        session.wait(LONG)
    assert got.count > AMOUNT
    assert sums(node, container) == [sent, got.sum()]


@both
def test_attach_much_each_way(own_node, transport):
    node = own_node(config={"runtime": f"log_size_max = {1 << 20}\n"})
    container = node.sh(node.pod(), f"read go; {CONVERSE} trap 'exit 0' TERM; while :; do sleep 0.1; done", stdin=True, stdin_once=True)
    other = node.sleeper(node.pod())
    run(node, other, "true", transport).wait()
    with Watched(node, monitor_of(container)):
        session = attach(node, container, transport, stdin=True, reading=False)
        got = session.got["stdout"] = Tally()
        session.start_reading()
        session.send(b"go\n")
        sent = send_all(session.send)
        session.close_stdin()
        ours = sums(node, container)
        wait_for(lambda: ours[1] == got.sum() or session.ended & {"connection"}, "all of it", LONG)
    assert got.count > AMOUNT
    assert ours == [sent, got.sum()]
    session.vanish()


class Peer:
    """Sends AMOUNT bytes and takes as many, at once; its end comes when both are done."""

    def __init__(self):
        self.sent, self.got = None, Tally()

    def __call__(self, connection):
        sender = threading.Thread(target=self._send, args=(connection,))
        sender.start()
        while self.got.count < AMOUNT and (part := connection.recv(1 << 18)):
            self.got.extend(part)
        sender.join()

    def _send(self, connection):
        self.sent = send_all(connection.sendall)


@pytest.mark.parametrize("how", ["spdy", "tunnel", "channels"])
def test_port_forward_much_each_way(node, how):
    pod, _ = node.pod()
    run(node, node.sleeper(node.pod()), "true").wait()
    peer, got = Peer(), Tally()
    begun = threading.Event()

    def serve(connection):
        begun.wait()
        peer(connection)

    with server(node, pod, serve), Watched(node):
        if how == "channels":
            forwarder = WebForwarder(node.client.PortForward(pod_sandbox_id=pod, port=[PORT]).url, [PORT])
            wait_for(lambda: len(forwarder.channels[0]) == 2, "the port's number")
            forwarder.channels[0] = got
            send = forwarder.send
        else:
            forwarder = forward(node, pod, tunnel=how == "tunnel")
            connection = forwarder.connect(PORT)
            connection.got = got
            send = connection.send
        begun.set()
        sent = send_all(send)
        wait_for(lambda: got.count >= AMOUNT or forwarder.ended & {"connection"}, "all of it", LONG)
        assert got.count == AMOUNT and not forwarder.problem
        wait_for(lambda: peer.got.count == AMOUNT, "all to have arrived", LONG)
        forwarder.vanish()
    assert (peer.got.sum(), got.sum()) == (sent, peer.sent)


@pytest.mark.slow
def test_two_hundred_sessions_at_once(node, handler):
    """Of all kinds, in both protocols; each gets its own, and all that they had goes with them."""
    commands = 40 if handler == "shim" else 150  # runc's shim (1.6) starts one after the other
    pod = node.pod()
    container = node.sleeper(pod)
    run(node, container, "true").wait()
    wait_for(lambda: sessions(node) == 0, "the first session's end")
    before = len(os.listdir(f"/proc/{node.daemon.pid}/fd"))

    def echo(connection):
        while part := connection.recv(65536):
            connection.sendall(part)

    with server(node, pod[0], echo):
        execs = [run(node, container, "cat", ("spdy", "websocket")[i % 2], stdin=True) for i in range(commands)]
        forwards = [forward(node, pod[0], tunnel=i % 2 == 1) for i in range(200 - commands)]
        assert sample(node, "crisp_streaming_sessions") == 200
        connections = [forwarder.connect(PORT) for forwarder in forwards]
        for i, session in enumerate(execs):
            session.send(b"%d\n" % i)
        for i, connection in enumerate(connections):
            connection.send(b"%d\n" % i)
            connection.finish()
        for i, session in enumerate(execs):
            session.wait_for(b"%d\n" % i)
            session.close_stdin()
        for session in execs:
            assert session.status()["status"] == "Success"
            assert session.got["stdout"].count(b"\n") == 1
        assert [connection.wait() for connection in connections] == [b"%d\n" % i for i in range(200 - commands)]
        for forwarder in forwards:
            forwarder.vanish()
    wait_for(lambda: sessions(node) == 0, "the sessions' ends")
    wait_for(lambda: len(os.listdir(f"/proc/{node.daemon.pid}/fd")) <= before, "their descriptors to be closed")


# ---- kill -9 in the middle ----

POUR = "echo up; exec dd if=/dev/zero bs=64k"

# A client that is a process of its own: it prints a line when bytes come, and reads on.
CLIENT = """
import sys, time
sys.path[:0] = {path!r}
import streams
kind, transport, url = sys.argv[1:]
if kind == "port-forward":
    forwarder = streams.Forwarder(url, transport == "websocket")
    got = lambda: forwarder.connection.got
    forwarder.connection = forwarder.connect({port})
else:
    session = streams.TRANSPORTS[transport](url, streams.streams_of(stdin=True))
    got = lambda: session.got["stdout"]
    if kind == "attach":
        session.send(b"go\\n")
while len(got()) < 1000000:
    time.sleep(0.01)
print("flows", flush=True)
while True:
    got().clear()
    time.sleep(0.01)
"""


def zeros(connection):
    block = bytes(1 << 16)
    try:
        while True:
            connection.sendall(block)
    except OSError:
        pass


def url_of(node, kind, pod, container):
    if kind == "port-forward":
        return node.client.PortForward(pod_sandbox_id=pod[0]).url
    wanted = {"container_id": container, "stdin": True, "stdout": True, "stderr": True}
    return (node.client.Exec(cmd=["/bin/sh", "-c", POUR], **wanted) if kind == "exec" else node.client.Attach(**wanted)).url


def start_client(kind, transport, url):
    script = CLIENT.format(path=sys.path, port=PORT)
    client = subprocess.Popen([sys.executable, "-c", script, kind, transport, url], stdout=subprocess.PIPE, text=True)
    line = client.stdout.readline()
    if line != "flows\n":
        client.kill()
        client.wait()
    assert line == "flows\n", line
    return client


def children_of(container, word):
    """Processes in the container whose command line has the word."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{pid}/cmdline").read()
            if word in words and container in open(f"/proc/{pid}/cgroup").read():
                found.append(int(pid))
        except OSError:
            pass
    return found


@both
@pytest.mark.parametrize("kind", ["exec", "attach", "port-forward"])
def test_a_client_is_killed(node, kind, transport):
    """Nothing of the session is left, and the container does not notice."""
    pod = node.pod()
    script = f"read go; echo up; dd if=/dev/zero bs=64k count=100000; {'' if kind != 'attach' else 'trap exit TERM; while :; do sleep 0.1; done'}"
    container = node.sh(pod, script, stdin=True) if kind == "attach" else node.sleeper(pod)
    run(node, node.sleeper(pod, name="other"), "true").wait()
    wait_for(lambda: sessions(node) == 0, "the first session's end")
    before, first = len(os.listdir(f"/proc/{node.daemon.pid}/fd")), children_of(container, "")
    with server(node, pod[0], zeros):
        client = start_client(kind, transport, url_of(node, kind, pod, container))
        client.kill()
        client.wait()
        wait_for(lambda: sessions(node) == 0, "the session's end")
    if kind == "exec":
        wait_for(lambda: not children_of(container, "if=/dev/zero"), "the command's end")
    else:
        assert set(first) <= set(children_of(container, ""))
    wait_for(lambda: len(os.listdir(f"/proc/{node.daemon.pid}/fd")) <= before, "its descriptors to be closed")
    assert node.status(container).state == RUNNING
    assert node.exec_sh(container, "echo on") == "on\n"


@pytest.mark.parametrize("kind", ["exec", "attach"])
def test_the_monitor_is_killed(own_node, kind):
    """An attach ends with it; a command is not its business. Nobody waits for what does not come."""
    node = own_node()
    pod = node.pod()
    container = node.sh(pod, "read go; exec dd if=/dev/zero bs=64k", stdin=True)
    other = node.sleeper(pod, name="other")
    client = start_client(kind, "spdy", url_of(node, kind, pod, container))
    os.kill(monitor_of(container), signal.SIGKILL)
    if kind == "attach":
        wait_for(lambda: sessions(node) == 0, "the session's end")
    client.kill()
    client.wait()
    wait_for(lambda: sessions(node) == 0, "the session's end")
    assert run(node, other, "echo on").wait()[0] == b"on\n"
    node.stop(container)
    assert node.status(other).state == RUNNING
    wait_for(lambda: not children_of(container, "dd"), "the container's processes to be gone")


@pytest.mark.handler
def test_the_daemon_is_killed(own_node):
    """With sessions of all kinds under way: containers do not notice, what was started for a client ends, and all kinds work again."""
    node = own_node()
    pod = node.pod()
    attached = node.sh(pod, "n=0; while :; do n=$((n+1)); echo line $n; done", stdin=True)
    container = node.sleeper(pod, name="main2")
    first, log = children_of(container, ""), node.log_file(attached)
    with server(node, pod[0], zeros):
        clients = [start_client(kind, transport, url_of(node, kind, pod, attached if kind == "attach" else container))
                   for kind in ("exec", "attach", "port-forward") for transport in ("spdy", "websocket")]
        node.daemon.kill()
        for client in clients:
            client.kill()
            client.wait()
        lines = len(parse_log(log))
        wait_for(lambda: len(parse_log(log)) > lines, "the log to go on")
        node.daemon.start()
        assert node.status(container).state == node.status(attached).state == RUNNING
        assert set(first) <= set(children_of(container, ""))
        wait_for(lambda: not children_of(container, "if=/dev/zero"), "the commands' ends")
        for kind in ("exec", "attach", "port-forward"):
            client = start_client(kind, "spdy", url_of(node, kind, pod, attached if kind == "attach" else container))
            client.kill()
            client.wait()
        wait_for(lambda: sessions(node) == 0, "the sessions' ends")
    # No line is lost or told twice, whoever was killed.
    numbers = [int(text.split()[1]) for _, tag, text in node.log(attached) if tag == "F"]
    assert numbers == list(range(1, len(numbers) + 1))
