"""PortForward: connections into a pod's network."""
import contextlib
import os
import socket
import struct
import threading

import pytest
from kit.wait import wait_for
from streams import Forwarded, Forwarder, Refused, WebForwarder, forward, sessions
from support import KINDS, NODE, error_of

both = pytest.mark.parametrize("tunnel", [False, True], ids=["spdy", "tunnel"])
CLONE_NEWNET = 0x40000000


def in_pod(node, pod):
    """The pod's network namespace, as a path."""
    return f"{node.daemon.run}/pods/{pod}/ns/net"


@contextlib.contextmanager
def server(node, pod, serve, address=("127.0.0.1", 7000), family=socket.AF_INET):
    """A server of our own inside the pod's network: serve(connection) for each, in a thread."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    made = []

    def make():
        if pod:
            with open(in_pod(node, pod)) as namespace:
                assert libc.setns(namespace.fileno(), CLONE_NEWNET) == 0, ctypes.get_errno()
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(256)
        made.append(listener)

    maker = threading.Thread(target=make)
    maker.start()
    maker.join()
    listener = made[0]

    def run(connection):
        with connection:
            serve(connection)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=run, args=(connection,), daemon=True).start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()


def echo(connection):
    try:
        while content := connection.recv(65536):
            connection.sendall(content)
    except OSError:
        pass


@both
def test_bytes_both_ways(node, tunnel):
    pod, _ = node.pod()
    with server(node, pod, echo):
        forwarder = forward(node, pod, tunnel=tunnel)
        connection = forwarder.connect(7000)
        sent = os.urandom(3 << 20)
        connection.send(sent)
        connection.finish()
        assert connection.wait() == sent
        wait_for(lambda: connection.error_ended, "the error stream's end")
        assert not connection.error
        forwarder.vanish()


def test_an_url_is_good_once(node):
    url = node.client.PortForward(pod_sandbox_id=node.pod()[0]).url
    Forwarder(url).vanish()
    with pytest.raises(Refused) as refused:
        Forwarder(url)
    assert refused.value.status == 404


@both
def test_ipv6_alone(node, tunnel):
    pod, _ = node.pod()
    with server(node, pod, echo, ("::1", 7000), socket.AF_INET6):
        forwarder = forward(node, pod, tunnel=tunnel)
        connection = forwarder.connect(7000)
        connection.send(b"six")
        connection.finish()
        assert connection.wait() == b"six"
        forwarder.vanish()


def test_a_container_serves(node):
    pod = node.pod()
    node.sh(pod, "mkdir /www; echo served >/www/file; exec busybox httpd -f -p 127.0.0.1:7000 -h /www")
    forwarder = forward(node, pod[0])

    def answered():
        connection = forwarder.connect(7000)
        connection.send(b"GET /file HTTP/1.0\r\n\r\n")
        return connection.wait().endswith(b"served\n")
    wait_for(answered, "an answer")
    forwarder.vanish()


def test_a_pod_in_the_hosts_network(node):
    pod, _ = node.pod(linux=node.namespaces(network=NODE))
    with server(node, None, echo, ("127.0.0.1", 0)) as listener:
        forwarder = forward(node, pod)
        connection = forwarder.connect(listener.getsockname()[1])
        connection.send(b"host")
        connection.finish()
        assert connection.wait() == b"host"
        forwarder.vanish()


@both
def test_many_connections_and_ports_over_one_session(node, tunnel):
    pod, _ = node.pod()
    with server(node, pod, echo), server(node, pod, lambda c: c.sendall(b"other"), ("127.0.0.1", 7001)):
        forwarder = forward(node, pod, tunnel=tunnel)
        connections = [forwarder.connect(7000) for _ in range(100)]
        others = [forwarder.connect(7001) for _ in range(20)]
        for i, connection in enumerate(connections):
            connection.send(b"%d" % i * 1000)
        for i, connection in enumerate(connections):
            assert connection.wait_for(1000 * len(str(i))) == b"%d" % i * 1000
            connection.finish()
        for connection in connections:
            connection.wait()
        assert [other.wait() for other in others] == [b"other"] * 20
        # The session goes on, and takes further ones.
        last = forwarder.connect(7001)
        assert last.wait() == b"other"
        forwarder.vanish()


def test_half_closes(node):
    """Who has sent all still gets the answer, in both directions."""
    def wait_then_answer(connection):
        content = b""
        while part := connection.recv(65536):
            content += part
        connection.sendall(b"got %d" % len(content))

    def answer_then_wait(connection):
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        late.append(b"")
        while part := connection.recv(65536):
            late[0] += part
        late.append("end")

    late = []
    pod, _ = node.pod()
    with server(node, pod, wait_then_answer), server(node, pod, answer_then_wait, ("127.0.0.1", 7001)):
        forwarder = forward(node, pod)
        first, second = forwarder.connect(7000), forwarder.connect(7001)
        first.send(b"x" * 100000)
        first.finish()
        assert first.wait() == b"got 100000"
        assert second.wait() == b"bye"
        second.send(b"still talking")
        second.finish()
        wait_for(lambda: late[-1] == "end", "the late words")
        assert late[0] == b"still talking"
        forwarder.vanish()


@both
def test_nobody_listens(node, tunnel):
    pod, _ = node.pod()
    forwarder = forward(node, pod, tunnel=tunnel)
    connection = forwarder.connect(7999)
    message = connection.wait_error()
    assert message.startswith(f"error forwarding port 7999 to pod {pod}") and "refused" in message.lower()
    with server(node, pod, echo):  # the session goes on
        second = forwarder.connect(7000)
        second.send(b"on")
        second.finish()
        assert second.wait() == b"on"
    forwarder.vanish()


def test_a_server_that_resets(node):
    def reset(connection):
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    pod, _ = node.pod()
    with server(node, pod, reset):
        forwarder = forward(node, pod)
        connection = forwarder.connect(7000)
        connection.send(b"x")
        connection.wait()
        again = forwarder.connect(7000)
        again.send(b"x")
        again.wait()
        forwarder.vanish()


def test_old_clients_name_no_request(node):
    pod, _ = node.pod()
    with server(node, pod, echo):
        forwarder = forward(node, pod)
        connections = [forwarder.connect(7000, request=False) for _ in range(3)]
        for connection in connections:
            connection.send(b"old")
            connection.finish()
            assert connection.wait() == b"old"
        forwarder.vanish()


def test_streams_that_make_no_sense_are_refused_alone(node):
    pod, _ = node.pod()
    with server(node, pod, echo):
        forwarder = forward(node, pod)
        resets = []
        for headers in ({"streamtype": "data"}, {"streamtype": "data", "port": "0"}, {"streamtype": "data", "port": "65536"},
                        {"streamtype": "other", "port": "7000"}, {"port": "7000"}, {"streamtype": "data", "port": "7000x"}):
            resets.append(forwarder.spdy.open(headers))
        for stream in resets:
            wait_for(lambda: stream in forwarder.refused, "the stream to be refused")
        connection = forwarder.connect(7000)
        connection.send(b"fine")
        connection.finish()
        assert connection.wait() == b"fine"
        forwarder.vanish()


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"])
def test_websocket_channels(node, protocol):
    pod, _ = node.pod()
    with server(node, pod, echo), server(node, pod, lambda c: c.sendall(b"other"), ("127.0.0.1", 7001)):
        url = node.client.PortForward(pod_sandbox_id=pod, port=[7000, 7001, 7999]).url
        forwarder = WebForwarder(url, [7000, 7001, 7999], [protocol])
        assert forwarder.protocol == protocol
        forwarder.send(b"hello")
        numbers = [struct.pack("<H", port) for port in (7000, 7001, 7999)]
        wait_for(lambda: forwarder.channels[0] == numbers[0] + b"hello", f"the echo: {forwarder.channels}")
        wait_for(lambda: forwarder.channels[2] == numbers[1] + b"other", f"the other: {forwarder.channels}")
        wait_for(lambda: b"refused" in forwarder.channels[5].lower(), f"the error: {forwarder.channels}")
        assert forwarder.channels[1] == numbers[0] and forwarder.channels[5].startswith(numbers[2])
        forwarder.vanish()


@both
def test_a_client_that_is_killed_leaves_nothing(node, tunnel):
    def descriptors():
        return len(os.listdir(f"/proc/{node.daemon.pid}/fd"))

    ended = []

    def wait_for_end(connection):
        connection.sendall(b"x" * 1000)
        try:
            while connection.recv(65536):
                pass
        except OSError:
            pass
        ended.append(1)

    pod, _ = node.pod()
    open_before = sessions(node)
    forward(node, pod, tunnel=tunnel).vanish()
    wait_for(lambda: sessions(node) == open_before, "the first session's end")
    before = descriptors()
    with server(node, pod, wait_for_end):
        forwarder = forward(node, pod, tunnel=tunnel)
        for connection in [forwarder.connect(7000) for _ in range(10)]:
            connection.wait_for(1000)
        forwarder.vanish()
        wait_for(lambda: len(ended) == 10, "the connections' ends")
    wait_for(lambda: sessions(node) == open_before, "the session's end")
    wait_for(lambda: descriptors() <= before, "the descriptors to be closed")


def test_the_pods_end_ends_its_connections(node):
    pod, _ = node.pod()
    with server(node, pod, echo):
        forwarder = forward(node, pod)
        connection = forwarder.connect(7000)
        connection.send(b"x")
        connection.wait_for(1)
        node.client.StopPodSandbox(pod_sandbox_id=pod)
        late = forwarder.connect(7000)
        assert "not ready" in late.wait_error()
        forwarder.vanish()


def test_what_is_refused(node):
    pod, _ = node.pod()
    call = node.client.PortForward
    error_of(lambda: call(pod_sandbox_id="no-such-pod"), KINDS.NOT_FOUND)
    assert "port: 70000" in error_of(lambda: call(pod_sandbox_id=pod, port=[70000]), KINDS.INVALID_ARGUMENT)
    assert "port: 0" in error_of(lambda: call(pod_sandbox_id=pod, port=[0]), KINDS.INVALID_ARGUMENT)
    error_of(lambda: call(pod_sandbox_id=pod, port=range(1, 100)), KINDS.INVALID_ARGUMENT)
    node.client.StopPodSandbox(pod_sandbox_id=pod)
    assert "not ready" in error_of(lambda: Forwarder(call(pod_sandbox_id=pod).url), KINDS.FAILED_PRECONDITION)
