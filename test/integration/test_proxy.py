"""Registries that only a proxy reaches."""
import http.server
import os
import select
import socket
import threading
import urllib.request

import pytest
from kit.nginx import Authority, Nginx
from support import KINDS, error_of, small

NAME = "registry.invalid"  # no resolver knows it


class Proxy:
    """Hands requests for NAME on to one server, whichever port they name, and notes them."""

    def __init__(self, upstream):
        self.upstream, self.asked, self.user = upstream, [], None
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def refused(self):
                proxy.asked.append((self.command, self.path))
                if proxy.user and self.headers.get("Proxy-Authorization") != proxy.user:
                    self.send_response(407)
                    self.send_header("Proxy-Authenticate", "Basic")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return True
                return False

            def do_GET(self):
                if self.refused():
                    return
                path = self.path.split("/", 3)[3]
                with urllib.request.urlopen(f"http://{proxy.upstream}/{path}") as answer:
                    body = answer.read()
                    self.send_response(answer.status)
                    self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_CONNECT(self):
                if self.refused():
                    return
                host, port = proxy.upstream.split(":")
                with socket.create_connection((host, int(port))) as other:
                    self.send_response(200)
                    self.end_headers()
                    ends = {self.connection: other, other: self.connection}
                    while True:
                        for ready in select.select(list(ends), [], [], 60)[0]:
                            data = ready.recv(65536)
                            if not data:
                                self.close_connection = True
                                return
                            ends[ready].sendall(data)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def through(own_daemon, bad):
    """A daemon with that environment, which reaches NAME by a scheme."""
    def make(scheme, **env):
        daemon = own_daemon(start=False)
        os.makedirs(f"{daemon.root}/hosts/{NAME}")
        with open(f"{daemon.root}/hosts/{NAME}/hosts.toml", "w") as file:
            file.write(f'server = "{scheme}://{NAME}"\n[host."{scheme}://{NAME}"]\nskip_verify = true\n')
        daemon.start(env=env)
        return daemon
    return make


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_plain_http(through, bad, variable):
    bad.put("a/b", "1", small())
    with Proxy(bad.host) as proxy:
        daemon = through("http", **{variable: proxy.url})
        assert daemon.client.PullImage(image={"image": f"{NAME}/a/b:1"}).image_ref
        assert any(path.startswith(f"http://{NAME}/v2/a/b/blobs/") for _, path in proxy.asked)


def test_tls_goes_through_a_tunnel(through, bad, tmp_path):
    bad.put("a/b", "1", small())
    authority = Authority(f"{tmp_path}/authority")
    with Nginx(f"{tmp_path}/nginx", upstream=bad.host, certificate=authority.issue("server")) as server, Proxy(server.host) as proxy:
        daemon = through("https", HTTPS_PROXY=proxy.url, HTTP_PROXY="http://127.0.0.1:1")
        assert daemon.client.PullImage(image={"image": f"{NAME}/a/b:1"}).image_ref
        assert set(proxy.asked) == {("CONNECT", f"{NAME}:443")}


def test_hosts_that_need_none(through, bad):
    local = bad.put("a/b", "1", small())
    with Proxy(bad.host) as proxy:
        daemon = through("http", HTTP_PROXY=proxy.url, NO_PROXY="example.com,invalid")
        error_of(lambda: daemon.client.PullImage(image={"image": f"{NAME}/a/b:1"}), KINDS.UNKNOWN)
        assert daemon.client.PullImage(image={"image": local}).image_ref, "this machine's own need none"
        assert not proxy.asked


def test_a_password_for_the_proxy_stays_out_of_errors(through, bad):
    bad.put("a/b", "1", small())
    with Proxy(bad.host) as proxy:
        proxy.user = "Basic bWU6aHVudGVyMg=="
        address = proxy.url.removeprefix("http://")
        daemon = through("http", HTTP_PROXY=f"http://me:hunter2@{address}")
        assert daemon.client.PullImage(image={"image": f"{NAME}/a/b:1"}).image_ref
        proxy.user = "Basic other"
        bad.put("a/c", "1", small())
        error = error_of(lambda: daemon.client.PullImage(image={"image": f"{NAME}/a/c:1"}), KINDS.UNKNOWN)
        assert "407, of a proxy that wants other credentials" in error and "hunter2" not in error
    proxy_gone = error_of(lambda: daemon.client.PullImage(image={"image": f"{NAME}/a/c:1"}), KINDS.UNKNOWN)
    assert "hunter2" not in proxy_gone
    with open(daemon.log) as log:
        assert "hunter2" not in log.read()
