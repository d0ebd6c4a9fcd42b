"""A real registry on loopback (Debian's docker-registry), and how an image gets into it."""
import http.client
import os
import signal
import socket
import subprocess
import urllib.parse

from .paths import program
from .wait import wait_for


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _request(host, method, path, body=b"", headers=None):
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Length": str(len(body)), **(headers or {})})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def _expect(got, wanted, what):
    status, headers, body = got
    if status not in wanted:
        raise RuntimeError(f"{what}: {status} {body[:500]!r}")
    return headers


def push(host, repository, tag, image, token=None):
    """Puts an Image or Index there under REPOSITORY:TAG and returns the name to pull it by."""
    shown = {"Authorization": f"Bearer {token}"} if token else {}
    for blob in image.blobs:
        if _request(host, "HEAD", f"/v2/{repository}/blobs/{blob.digest}", headers=shown)[0] == 200:
            continue
        started = _expect(_request(host, "POST", f"/v2/{repository}/blobs/uploads/", headers=shown), (202,), "start of an upload")
        place = urllib.parse.urlsplit(started["Location"])
        query = "&".join(filter(None, [place.query, "digest=" + urllib.parse.quote(blob.digest)]))
        sent = _request(host, "PUT", f"{place.path}?{query}", blob.data, {"Content-Type": "application/octet-stream", **shown})
        _expect(sent, (201,), f"upload of {blob.digest}")
    for manifest in image.manifests:
        reference = tag if manifest is image.top else manifest.digest
        sent = _request(host, "PUT", f"/v2/{repository}/manifests/{reference}", manifest.data, {"Content-Type": manifest.media_type, **shown})
        _expect(sent, (201,), f"manifest {reference}")
    return f"{host}/{repository}:{tag}"


class Registry:
    """docker-registry with its data below a folder. A context manager."""

    def __init__(self, folder, port=None, config=""):
        """config: further sections of its configuration, as YAML."""
        self.folder, self.process, self.config = folder, None, config
        self.port = port or free_port()
        self.host = f"127.0.0.1:{self.port}"

    def start(self):
        os.makedirs(self.folder, exist_ok=True)
        config = f"{self.folder}/config.yml"
        with open(config, "w") as file:
            file.write(
                "version: 0.1\nlog: {level: warn}\n"
                f"storage: {{filesystem: {{rootdirectory: {self.folder}/data}}, delete: {{enabled: true}}}}\n"
                f"http: {{addr: {self.host}}}\n{self.config}"
            )
        with open(f"{self.folder}/log", "wb") as log:
            self.process = subprocess.Popen(
                [program("docker-registry"), "serve", config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        wait_for(self._answers, "docker-registry to answer")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"docker-registry ended with {self.process.returncode}; see {self.folder}/log")
        try:
            return _request(self.host, "GET", "/v2/")[0] in (200, 401)
        except OSError:
            return False

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def push(self, repository, tag, image, token=None):
        return push(self.host, repository, tag, image, token)

    __enter__ = start

    def __exit__(self, *_):
        self.stop()
