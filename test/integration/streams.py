"""Clients of exec, attach and port-forward: over SPDY, over a WebSocket, and over SPDY in a WebSocket."""
import base64
import json
import os
import select
import socket
import ssl
import subprocess
import threading
from urllib.parse import urlparse

from kit.wait import wait_for
from spdy import Spdy
from websockets.client import ClientConnection
from websockets.connection import State
from websockets.exceptions import InvalidHandshake
from websockets.frames import Opcode
from websockets.uri import parse_uri

PATIENCE = int(os.environ.get("CRISP_STREAM_PATIENCE", 120))  # seconds without a byte, after which a test that hangs fails
SPDY_COMMANDS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
WEB_COMMANDS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
CHANNELS = {"stdin": 0, "stdout": 1, "stderr": 2, "error": 3, "resize": 4}


class Refused(Exception):
    def __init__(self, status, text, headers):
        super().__init__(f"{status}: {text}")
        self.status, self.text, self.headers = status, text, headers


class Tls:
    """A TLS connection for two threads, one that reads and one that writes: OpenSSL's is for one at a time, and Python has no lock."""

    def __init__(self, plain, context, name):
        self.sock = context.wrap_socket(plain, server_hostname=name)
        self.sock.setblocking(False)
        self.lock = threading.Lock()

    def _call(self, function, *arguments):
        while True:
            readable, writable = [], []
            with self.lock:
                try:
                    return function(*arguments)
                except ssl.SSLWantReadError:
                    readable = [self.sock]
                except ssl.SSLWantWriteError:
                    writable = [self.sock]
            if not any(select.select(readable, writable, [], PATIENCE)):
                raise TimeoutError(f"nothing for {PATIENCE} s")

    def recv(self, count):
        return self._call(self.sock.recv, count)

    def sendall(self, content):
        left = memoryview(content)
        while left:
            left = left[self._call(self.sock.send, left):]

    def __getattr__(self, name):
        return getattr(self.sock, name)


def connect(url, context=None):
    parts = urlparse(url)
    plain = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Tls(plain, context, parts.hostname) if parts.scheme == "https" else plain


def read_head(sock, left=b""):
    """Reads an HTTP answer's head; returns (status, headers, what came after it)."""
    while b"\r\n\r\n" not in left:
        more = sock.recv(65536)
        if not more:
            raise EOFError(f"the connection ended after {left!r}")
        left += more
    head, left = left.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
    return int(lines[0].split()[1]), headers, left


def request(url, headers, method="POST", context=None):
    """An HTTP request without a body; returns (socket, status, headers, what came after them)."""
    sock = connect(url, context)
    parts = urlparse(url)
    head = f"{method} {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    sock.sendall((head + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n").encode())
    return sock, *read_head(sock)


def upgrade(url, protocols, context=None, more=()):
    """Upgrades to SPDY; returns (socket, protocol, what came after the head)."""
    headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), *more]
    headers += [("X-Stream-Protocol-Version", name) for name in protocols]
    sock, status, answered, left = request(url, headers, context=context)
    if status != 101:
        length = int(dict(answered)["Content-Length"])
        while len(left) < length:
            left += sock.recv(65536)
        sock.close()
        raise Refused(status, left.decode(), answered)
    return sock, dict(answered).get("X-Stream-Protocol-Version"), left


class Connection(ClientConnection):
    """Its library holds subprotocols to RFC 7230's tokens; Kubernetes has one with a slash."""

    def process_subprotocol(self, headers):
        chosen = headers.get("Sec-WebSocket-Protocol")
        assert chosen is None or chosen in self.available_subprotocols, chosen
        return chosen


class WebSocket:
    """A WebSocket by python3-websockets, on a socket of ours."""

    def __init__(self, url, protocols, context=None):
        self.sock = connect(url, context)
        self.lock = threading.Lock()
        self.connection = Connection(parse_uri(url.replace("http", "ws", 1)), subprotocols=protocols or None, max_size=None)
        request = self.connection.connect()
        self.connection.send_request(request)
        self._flush()
        self.messages, self.response = [], None
        while self.connection.state is State.CONNECTING:
            self.connection.receive_data(self.sock.recv(65536))
            self._collect()
            problem = self.connection.handshake_exc
            if problem:
                self.sock.close()
                status = self.response.status_code if isinstance(problem, InvalidHandshake) else 0
                raise Refused(status, (getattr(self.response, "body", b"") or b"").decode(), self.response.headers)
        self.protocol = self.connection.subprotocol

    def _flush(self):
        for part in self.connection.data_to_send():
            if part:
                self.sock.sendall(part)

    def _collect(self):
        for frame in self.connection.events_received():
            if not hasattr(frame, "opcode"):
                self.response = frame
            if hasattr(frame, "opcode") and frame.opcode in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
                if frame.opcode is not Opcode.CONT:
                    self.partial = b""
                self.partial += frame.data
                if frame.fin:
                    self.messages.append(self.partial)

    def send(self, message, text=False):
        with self.lock:
            (self.connection.send_text if text else self.connection.send_binary)(message)
            self._flush()

    def receive(self):
        """The next message, or None at the end."""
        while not self.messages:
            try:
                more = self.sock.recv(1 << 16)
            except ConnectionResetError:
                more = b""
            with self.lock:
                if more:
                    self.connection.receive_data(more)
                else:
                    self.connection.receive_eof()
                self._collect()
                try:
                    self._flush()
                except OSError:
                    pass
            if not more and not self.messages:
                return None
        return self.messages.pop(0)

    def close(self):
        with self.lock:
            self.connection.send_close(1000)
            self._flush()


class Session:
    """What exec and attach give: .got holds what came of each stream, as it comes unless reading is False."""

    def __init__(self, reading):
        self.got = {name: bytearray() for name in ("stdout", "stderr", "error")}
        self.ended = set()  # streams of which no more comes; "connection"
        self.problem = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        if reading:
            self.reader.start()

    def start_reading(self):
        self.reader.start()

    def _read(self):
        try:
            self._receive()
        except Exception as e:  # shown by the test's thread
            self.problem = e
        self.ended.add("connection")

    def wait(self, seconds=PATIENCE):
        """Waits for the connection's end; returns (stdout, stderr, what the error stream says)."""
        wait_for(lambda: "connection" in self.ended, f"the end of the session; got {self.summary()}", seconds)
        if self.problem:
            raise self.problem
        self.sock.close()
        return bytes(self.got["stdout"]), bytes(self.got["stderr"]), bytes(self.got["error"])

    def summary(self):
        return {name: bytes(content[-300:]) for name, content in self.got.items()}

    def status(self):
        """Waits for the end, and returns the Status."""
        return json.loads(self.wait()[2])

    def wait_for(self, text, stream="stdout", seconds=PATIENCE):
        text = text if isinstance(text, bytes) else text.encode()
        wait_for(lambda: text in self.got[stream] or self.ended & {"connection"}, f"{text!r}; got {self.summary()}", seconds)
        assert text in self.got[stream], (text, self.summary(), self.problem)

    def resize(self, rows, columns):
        self.send(json.dumps({"Width": columns, "Height": rows}).encode(), "resize")

    def vanish(self):
        """As a client that is killed."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        # Not before the reader has let go: it would go on with whoever gets the descriptor next.
        if self.reader.ident:
            self.reader.join()
        self.sock.close()


class SpdySession(Session):
    def __init__(self, url, streams, protocols=SPDY_COMMANDS, reading=True, context=None, sock=None):
        self.sock, self.protocol, left = upgrade(url, protocols, context)
        self.lock = threading.Lock()
        self.spdy = Spdy(self._send)
        self.early = left
        self.names, self.streams = {}, {}
        for name in ("error", *(n for n in ("stdin", "stdout", "stderr", "resize") if n in streams)):
            self.streams[name] = self.spdy.open({"streamtype": name})
            self.names[self.streams[name]] = name
        super().__init__(reading)

    def _send(self, content):
        with self.lock:
            self.sock.sendall(content)

    def _receive(self):
        content = self.early or self.sock.recv(65536)
        while content:
            for kind, stream, part in self.spdy.take(content):
                if kind == "data":
                    self.got[self.names[stream]] += part
                elif kind in ("fin", "reset"):
                    self.ended.add(self.names[stream])
            content = self.sock.recv(65536)

    def send(self, content, stream="stdin"):
        self.spdy.write(self.streams[stream], content)

    def close_stdin(self):
        self.spdy.finish(self.streams["stdin"])


class WebSession(Session):
    def __init__(self, url, streams, protocols=WEB_COMMANDS, reading=True, context=None):
        self.web = WebSocket(url, protocols, context)
        self.sock, self.protocol = self.web.sock, self.web.protocol
        self.base64 = "base64" in (self.protocol or "")
        super().__init__(reading)

    def _receive(self):
        while (message := self.web.receive()) is not None:
            channel = message[0] - (ord("0") if self.base64 else 0)
            content = base64.b64decode(message[1:]) if self.base64 else message[1:]
            self.got[{1: "stdout", 2: "stderr", 3: "error"}[channel]] += content

    def send(self, content, stream="stdin"):
        channel = CHANNELS[stream]
        if self.base64:
            self.web.send(str(channel).encode() + base64.b64encode(content), text=True)
        else:
            self.web.send(bytes([channel]) + content)

    def close_stdin(self):
        self.web.send(b"\xff\0")


TRANSPORTS = {"spdy": SpdySession, "websocket": WebSession}


def streams_of(stdin=False, stdout=True, stderr=True, tty=False):
    wanted = {"stdin": stdin, "stdout": stdout, "stderr": stderr and not tty, "resize": tty}
    return [name for name, wants in wanted.items() if wants]


def exec_url(node, container, command, stdin=False, stdout=True, stderr=True, tty=False):
    words = ["/bin/sh", "-c", command] if isinstance(command, str) else command
    return node.client.Exec(
        container_id=container, cmd=words, stdin=stdin, stdout=stdout, stderr=stderr and not tty, tty=tty
    ).url


def run(node, container, command, transport="spdy", reading=True, protocols=None, **wanted):
    """Starts a command in the container and returns its session."""
    more = {"protocols": protocols} if protocols is not None else {}
    return TRANSPORTS[transport](exec_url(node, container, command, **wanted), streams_of(**wanted), reading=reading, **more)


def attach(node, container, transport="spdy", reading=True, stdin=False, stdout=True, stderr=True, tty=False):
    url = node.client.Attach(container_id=container, stdin=stdin, stdout=stdout, stderr=stderr and not tty, tty=tty).url
    return TRANSPORTS[transport](url, streams_of(stdin, stdout, stderr, tty), reading=reading)


class Forwarded:
    """A connection that is forwarded: .got from the port, .error about it."""

    def __init__(self, forwarder, port):
        self.forwarder, self.port = forwarder, port
        self.got, self.error, self.ended, self.was_reset = bytearray(), bytearray(), False, False
        self.error_ended = False

    def send(self, content):
        self.forwarder.spdy.write(self.data, content)

    def finish(self):
        self.forwarder.spdy.finish(self.data)

    def wait(self, seconds=PATIENCE):
        wait_for(lambda: self.ended or "connection" in self.forwarder.ended, f"the end; got {self.got[-200:]} {self.error}", seconds)
        if self.forwarder.problem:
            raise self.forwarder.problem
        assert self.ended, f"the whole session ended; got {self.got[-200:]} {self.error}"
        return bytes(self.got)

    def wait_for(self, count, seconds=PATIENCE):
        wait_for(lambda: len(self.got) >= count or self.ended, f"{count} bytes; got {len(self.got)} {self.error}", seconds)
        return bytes(self.got)

    def wait_error(self, seconds=PATIENCE):
        wait_for(lambda: self.error, "an error", seconds)
        return self.error.decode()


class Forwarder(Session):
    """Port-forward over SPDY, or, with tunnel, over SPDY in a WebSocket."""

    def __init__(self, url, tunnel=False, context=None, protocols=("portforward.k8s.io",)):
        self.lock = threading.Lock()
        self.streams, self.serial, self.refused = {}, 0, set()
        self.web, self.early = None, b""
        if tunnel:
            self.web = WebSocket(url, ["SPDY/3.1+portforward.k8s.io"], context)
            self.sock, self.protocol = self.web.sock, self.web.protocol
        else:
            self.sock, self.protocol, self.early = upgrade(url, protocols, context)
        self.spdy = Spdy(self._send)
        super().__init__(True)

    def _send(self, content):
        if self.web:
            self.web.send(content)
            return
        with self.lock:
            self.sock.sendall(content)

    def _next(self):
        if self.web:
            return self.web.receive()
        early, self.early = self.early, b""
        return early or self.sock.recv(65536)

    def _receive(self):
        while content := self._next():
            for kind, stream, part in self.spdy.take(content):
                if stream not in self.streams:
                    if kind == "reset":
                        self.refused.add(stream)
                    continue
                role, forwarded = self.streams[stream]
                if kind == "data":
                    getattr(forwarded, "got" if role == "data" else "error").extend(part)
                elif kind in ("fin", "reset") and role == "data":
                    forwarded.was_reset, forwarded.ended = kind == "reset", True
                elif kind in ("fin", "reset"):
                    forwarded.error_ended = True

    def connect(self, port, request=True):
        forwarded = Forwarded(self, port)
        self.serial += 1
        more = {"requestid": str(self.serial)} if request else {}
        for role in ("error", "data"):
            stream = self.spdy.open({"streamtype": role, "port": str(port), **more}, flags=0)
            setattr(forwarded, role + "_stream" if role == "error" else "data", stream)
            self.streams[stream] = role, forwarded
        self.spdy.finish(forwarded.error_stream)  # as kubectl does
        return forwarded


class WebForwarder(Session):
    """Port-forward over a WebSocket's channels: two for each port."""

    def __init__(self, url, ports, protocols=("v4.channel.k8s.io",)):
        self.web = WebSocket(url, list(protocols))
        self.sock, self.protocol = self.web.sock, self.web.protocol
        self.base64 = "base64" in (self.protocol or "")
        self.channels = [bytearray() for _ in range(2 * len(ports))]
        super().__init__(True)

    def _receive(self):
        while (message := self.web.receive()) is not None:
            channel = message[0] - (ord("0") if self.base64 else 0)
            self.channels[channel] += base64.b64decode(message[1:]) if self.base64 else message[1:]

    def send(self, content, channel=0):
        if self.base64:
            self.web.send(str(channel).encode() + base64.b64encode(content), text=True)
        else:
            self.web.send(bytes([channel]) + content)


def forward(node, pod, ports=(), tunnel=False):
    return Forwarder(node.client.PortForward(pod_sandbox_id=pod, port=list(ports)).url, tunnel)


def sample(node, name):
    """A metric of the daemon's."""
    command = [node.daemon.crisp, "metrics", "--socket", node.daemon.socket]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(name + " ")))


def bound(node, name):
    """How often a bound of the streaming server was reached."""
    return sample(node, f'crisp_streaming_bounds_total{{bound="{name}"}}')


def sessions(node):
    return sample(node, "crisp_streaming_sessions")
