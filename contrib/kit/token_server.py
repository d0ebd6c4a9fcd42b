"""A token server for docker-registry: signs what it grants, to who shows a password or a refresh token, and notes who asked."""
import base64
import http.server
import json
import os
import secrets
import subprocess
import threading
import time
import urllib.parse

from .paths import program


def _plain(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """Grants pulls. users: name to password; refresh: tokens that stand for a user. A context manager."""

    SERVICE, ISSUER = "kit registry", "kit issuer"

    def __init__(self, folder, users=None, refresh=(), expires_in=300, post=True, anonymous=False):
        self.folder, self.users, self.refresh = folder, users or {}, set(refresh)
        self.expires_in, self.post, self.anonymous = expires_in, post, anonymous
        self.asked = []  # (method, query or form as a dictionary of lists, Authorization)
        self.redirect = None  # a URL that everybody is sent to instead
        os.makedirs(folder, exist_ok=True)
        self.key, self.certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
        subprocess.run(
            [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kit",
             "-keyout", self.key, "-out", self.certificate],
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner._answer(self, urllib.parse.urlsplit(self.path).query)

            def do_POST(self):
                owner._answer(self, self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.realm = f"http://{self.host}/token"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def registry_config(self):
        """What docker-registry is to be told of it."""
        return (f"auth: {{token: {{realm: {json.dumps(self.realm)}, service: {json.dumps(self.SERVICE)}, "
                f"issuer: {json.dumps(self.ISSUER)}, rootcertbundle: {self.certificate}}}}}\n")

    def token(self, scopes, actions=("pull",), seconds=300):
        """A token for "repository:NAME:..." scopes, as docker-registry reads it."""
        access = [{"type": "repository", "name": scope.split(":", 1)[1].rsplit(":", 1)[0], "actions": list(actions)} for scope in scopes]
        now = int(time.time())
        with open(self.certificate) as file:
            body = "".join(line for line in file.read().splitlines() if "-----" not in line)
        head = {"typ": "JWT", "alg": "RS256", "x5c": [body]}
        claims = {"iss": self.ISSUER, "sub": "", "aud": self.SERVICE, "exp": now + seconds, "nbf": now - 30, "iat": now,
                  "jti": secrets.token_hex(8), "access": access}
        signed = _plain(json.dumps(head).encode()) + "." + _plain(json.dumps(claims).encode())
        signature = subprocess.run([program("openssl"), "dgst", "-sha256", "-sign", self.key], input=signed.encode(),
                                   stdout=subprocess.PIPE, check=True).stdout
        return f"{signed}.{_plain(signature)}"

    def _known(self, method, asked, authorization):
        if method == "POST":
            return asked.get("grant_type") == ["refresh_token"] and asked.get("refresh_token", [""])[0] in self.refresh
        if not authorization:
            return self.anonymous
        kind, _, value = authorization.partition(" ")
        user, _, password = base64.b64decode(value).decode().partition(":")
        return kind == "Basic" and (self.users.get(user) == password if user in self.users else password in self.refresh)

    def _answer(self, request, parameters):
        asked = urllib.parse.parse_qs(parameters)
        authorization = request.headers.get("Authorization")
        self.asked.append((request.command, asked, authorization))
        scopes = " ".join(asked.get("scope", [])).split()
        if self.redirect:
            return self._send(request, 307, {}, {"Location": self.redirect})
        if request.command == "POST" and not self.post:
            return self._send(request, 404, {})
        if not self._known(request.command, asked, authorization):
            return self._send(request, 401, {"details": "who are you"})
        if asked.get("service") != [self.SERVICE]:
            return self._send(request, 400, {"details": "another service"})
        token = self.token(scopes, seconds=max(self.expires_in, 1))
        name = "access_token" if request.command == "POST" else "token"
        self._send(request, 200, {name: token, "expires_in": self.expires_in})

    @staticmethod
    def _send(request, status, body, headers=None):
        data = json.dumps(body).encode()
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)
