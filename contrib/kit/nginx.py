"""nginx in front of a registry: with TLS, as a mirror, and with whatever rules a test has. And the certificates for it."""
import json
import os
import signal
import socket
import subprocess

from .paths import program
from .registry import free_port
from .wait import wait_for

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    log_format seen escape=json '{{"method": "$request_method", "path": "$uri", "query": "$args", "status": $status,'
        ' "authorization": "$http_authorization", "key": "$http_x_key", "agent": "$http_user_agent",'
        ' "client": "$ssl_client_s_dn"}}';
    access_log {folder}/access.log seen;
    server {{
        listen {host}{tls};
        {rules}
        location / {{ {upstream} }}
    }}
}}
"""


class Nginx:
    """One server on a port of its own. rules stand before its only location, which hands on to upstream (HOST:PORT)."""

    def __init__(self, folder, upstream=None, rules="", certificate=None, clients=None):
        """certificate: (file, key) turns TLS on; clients: a file of authorities, by one of which each client's certificate must be."""
        self.folder, self.host = folder, f"127.0.0.1:{free_port()}"
        self.upstream, self.rules, self.certificate, self.clients = upstream, rules, certificate, clients
        self.process = None
        self.url = f"{'https' if certificate else 'http'}://{self.host}"

    def __enter__(self):
        os.makedirs(self.folder, exist_ok=True)
        rules = self.rules
        if self.certificate:
            rules += "\nssl_certificate {};\nssl_certificate_key {};".format(*self.certificate)
            rules += f"\nssl_client_certificate {self.clients};\nssl_verify_client on;" if self.clients else "\nssl_verify_client optional_no_ca;"
        with open(f"{self.folder}/nginx.conf", "w") as file:
            file.write(CONFIG.format(
                folder=self.folder, host=self.host, tls=" ssl" if self.certificate else "", rules=rules,
                upstream=f"proxy_pass http://{self.upstream}; proxy_set_header Authorization '';" if self.upstream else "return 404;",
            ))
        with open(f"{self.folder}/output", "wb") as log:
            self.process = subprocess.Popen(
                [program("nginx"), "-e", f"{self.folder}/error.log", "-c", f"{self.folder}/nginx.conf"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        wait_for(self._answers, "nginx to answer")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            with open(f"{self.folder}/output", errors="replace") as file:
                raise RuntimeError(f"nginx ended with {self.process.returncode}: {file.read()}")
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", int(self.host.split(":")[1]))) == 0

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def seen(self):
        """The requests so far. nginx writes them after their end: wait_for what must come, and first see() what must not."""
        try:
            with open(f"{self.folder}/access.log") as file:
                return [json.loads(line) for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def see(self):
        """The requests so far, all of them: one of our own is the last, and stays away."""
        marker = f"/marker-{os.urandom(4).hex()}"
        arguments = ["-k"] if self.certificate else []
        for file, key in [self.certificate] if self.clients else []:
            arguments += ["--cert", file, "--key", key]
        subprocess.run([program("curl"), "-s", "-o", "/dev/null", *arguments, self.url + marker], check=True, timeout=60)
        wait_for(lambda: any(r["path"] == marker for r in self.seen()), "nginx to write its log")
        return [r for r in self.seen() if not r["path"].startswith("/marker-")]


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder, name="authority"):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.file, self.key = folder, f"{folder}/{name}.crt", f"{folder}/{name}.key"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                      "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.file)

    def _openssl(self, *arguments):
        subprocess.run([program("openssl"), *arguments], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=60)

    def issue(self, name):
        """A certificate for 127.0.0.1 and localhost in the name: (file, key). Good for servers and clients."""
        base = f"{self.folder}/{name}"
        with open(f"{base}.ext", "w") as file:
            file.write("subjectAltName = IP:127.0.0.1, DNS:localhost\n")
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                      "-keyout", f"{base}.key", "-out", f"{base}.csr")
        self._openssl("x509", "-req", "-in", f"{base}.csr", "-CA", self.file, "-CAkey", self.key, "-CAcreateserial", "-days", "2",
                      "-extfile", f"{base}.ext", "-out", f"{base}.cert")
        return f"{base}.cert", f"{base}.key"
