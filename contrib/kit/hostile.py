"""A registry made of a dictionary, which can be told to misbehave in any way that a test thinks of."""
import base64
import http.server
import json
import re
import secrets
import threading
import time
import urllib.parse


class HostileRegistry:
    """Serves images put into it. rule(), where set, sees each request first: it answers and returns True, or declines."""

    def __init__(self):
        self.blobs, self.manifests = {}, {}
        self.rule = None
        self.requests = []
        self.shown = []  # the Authorization of each request, or None
        self.ended = threading.Event()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner._answer(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_):
                pass  # a client that goes away is part of the game

        self.server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def put(self, repository, tag, image):
        for blob in image.blobs:
            self.blobs[blob.digest] = blob
        for manifest in image.manifests:
            self.manifests[repository, manifest.digest] = manifest
        self.manifests[repository, tag] = image.top
        return f"{self.host}/{repository}:{tag}"

    def seen(self, pattern):
        """How many requests matched: "GET /v2/..."."""
        return sum(bool(re.search(pattern, line)) for line in self.requests)

    # ---- answers ----

    def _answer(self, request):
        self.requests.append(f"{request.command} {request.path}")
        self.shown.append(request.headers.get("Authorization"))
        if self.rule and self.rule(request):
            return
        path = urllib.parse.unquote(request.path.split("?")[0])
        if path == "/v2/":
            return send(request, 200, b"{}")
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        if not match:
            return send(request, 404, error("UNSUPPORTED"))
        repository, kind, reference = match.groups()
        found = self.manifests.get((repository, reference)) if kind == "manifests" else self.blobs.get(reference)
        if not found:
            return send(request, 404, error("MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN"))
        kind_of = found.media_type if kind == "manifests" else "application/octet-stream"
        send(request, 200, found.data, {"Content-Type": kind_of, "Docker-Content-Digest": found.digest})


def error(code):
    return json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()


def send(request, status, body=b"", headers=None, length=None):
    """Answers whole; a range that was asked for is honoured."""
    headers = dict(headers or {})
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if status == 200 and wanted and int(wanted[1]) < len(body):
        first = int(wanted[1])
        last = min(int(wanted[2]) if wanted[2] else len(body) - 1, len(body) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        status, body = 206, body[first:last + 1]
    request.send_response(status)
    for name, value in {"Content-Type": "application/json", **headers}.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body) if length is None else length))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


# ---- ways to misbehave; each makes a rule ----

def on(pattern, act, times=None):
    """act(request) answers each request whose "METHOD path" matches; with times, only that many."""
    left = [times]
    lock = threading.Lock()

    def rule(request):
        if not re.search(pattern, f"{request.command} {request.path}"):
            return False
        with lock:
            if left[0] is not None:
                if left[0] <= 0:
                    return False
                left[0] -= 1
        act(request)
        return True

    return rule


def status(code, headers=None, body=None):
    return lambda request: send(request, code, error("UNKNOWN") if body is None else body, headers)


def truncate(registry, keep=0.5, part=False):
    """Says the whole length, sends a part of it, and hangs up."""
    def act(request):
        data = registry.blobs[request.path.rsplit("/", 1)[1]].data
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data[:int(len(data) * keep)])
            request.wfile.flush()
        request.close_connection = True
    return act


def lie(registry):
    """Sends as many bytes as asked for, but others."""
    def act(request):
        data = bytearray(registry.blobs[request.path.rsplit("/", 1)[1]].data)
        data[len(data) // 2] ^= 0xFF
        send(request, 200, bytes(data))
    return act


def hang(registry, after=0):
    """Sends the first bytes, then nothing any more."""
    def act(request):
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        request.wfile.write(b"x" * after)
        request.wfile.flush()
        registry.ended.wait(600)
        request.close_connection = True
    return act


def endless(registry):
    """Sends and sends, without naming a length."""
    def act(request):
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        request.close_connection = True
        while not registry.ended.is_set():
            request.wfile.write(b" " * 65536)
            time.sleep(0.001)
    return act


def basic_auth(user, password):
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def rule(request):
        if request.headers.get("Authorization") == wanted:
            return False
        send(request, 401, error("UNAUTHORIZED"), {"WWW-Authenticate": 'Basic realm="test"'})
        return True

    return rule


def token_auth(registry, user=None, password=None):
    """The token flow: 401 names a realm; the realm gives a token, to anybody or for a password."""
    token = secrets.token_hex(8)
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def rule(request):
        url = urllib.parse.urlsplit(request.path)
        if url.path == "/token":
            query = urllib.parse.parse_qs(url.query)
            if user and request.headers.get("Authorization") != wanted:
                send(request, 401, error("DENIED"))
            elif query.get("service") != ["test registry"] or not query.get("scope", [""])[0].endswith(":pull"):
                send(request, 400, error("DENIED"))
            else:
                send(request, 200, json.dumps({"token": token, "expires_in": 60}).encode())
            return True
        if request.headers.get("Authorization") == f"Bearer {token}":
            return False
        match = re.match(r"/v2/(.+)/(manifests|blobs)/", url.path)
        scope = f',scope="repository:{match[1]}:pull"' if match else ""
        header = f'Bearer realm="http://{registry.host}/token",service="test registry"{scope}'
        send(request, 401, error("UNAUTHORIZED"), {"WWW-Authenticate": header})
        return True

    return rule
