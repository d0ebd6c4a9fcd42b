"""Writes container images by hand: layers as tar, plain or compressed, and the JSON documents around them."""
import gzip
import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile

from .paths import program

OCI = {
    "config": "application/vnd.oci.image.config.v1+json",
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "index": "application/vnd.oci.image.index.v1+json",
    "tar": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
DOCKER = {
    "config": "application/vnd.docker.container.image.v1+json",
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "tar": "application/vnd.docker.image.rootfs.diff.tar",
    "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd",
}
FORMATS = {"oci": OCI, "docker": DOCKER}

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def compress(data, how):
    if how == "tar":
        return data
    if how == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if how == "zstd":
        return subprocess.run([program("zstd"), "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    raise ValueError(how)


class Layer:
    """A layer under construction. Names go into the tar exactly as given, also those that no honest builder writes."""

    def __init__(self, compression="gzip"):
        self.compression = compression
        self._bytes = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._bytes, mode="w", format=tarfile.PAX_FORMAT)
        self._data = None

    def _add(self, name, kind, data=b"", mode=0o755, uid=0, gid=0, link="", major=0, minor=0, pax=None):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.uid, info.gid, info.linkname = kind, mode, uid, gid, link
        info.devmajor, info.devminor, info.size, info.mtime = major, minor, len(data), 1700000000
        info.pax_headers = pax or {}
        self._tar.addfile(info, io.BytesIO(data))
        return self

    def folder(self, name, mode=0o755, **more):
        return self._add(name, tarfile.DIRTYPE, mode=mode, **more)

    def file(self, name, data=b"", mode=0o644, **more):
        return self._add(name, tarfile.REGTYPE, data if isinstance(data, bytes) else data.encode(), mode=mode, **more)

    def symlink(self, name, target):
        return self._add(name, tarfile.SYMTYPE, link=target, mode=0o777)

    def hardlink(self, name, target):
        return self._add(name, tarfile.LNKTYPE, link=target, mode=0o644)

    def device(self, name, major, minor, kind=tarfile.CHRTYPE):
        return self._add(name, kind, major=major, minor=minor, mode=0o600)

    def fifo(self, name):
        return self._add(name, tarfile.FIFOTYPE, mode=0o644)

    def tar(self):
        if self._data is None:
            self._tar.close()
            self._data = self._bytes.getvalue()
        return self._data


class Blob:
    """A document or layer as a registry keeps it."""

    def __init__(self, data, media_type):
        self.data, self.media_type, self.digest = data, media_type, digest(data)

    def descriptor(self, **more):
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), **more}


class Image:
    """One image: its blobs, its manifest, and the digest of its config, which is its id."""

    def __init__(self, layers, config=None, format="oci", architecture=None, os_name="linux", diff_ids=None, annotations=None):
        types = FORMATS[format]
        self.types = types
        tars = [layer.tar() for layer in layers]
        self.diff_ids = diff_ids or [digest(t) for t in tars]
        self.layers = [Blob(compress(t, layer.compression), types[layer.compression]) for t, layer in zip(tars, layers)]
        self.config = Blob(
            json.dumps(
                {
                    "created": "2024-01-02T03:04:05Z",
                    "architecture": architecture or ARCHITECTURE,
                    "os": os_name,
                    "config": {"Env": [PATH], "Cmd": ["sh"], **(config or {})},
                    "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
                    "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "by hand"} for _ in tars],
                }
            ).encode(),
            types["config"],
        )
        manifest = {
            "schemaVersion": 2,
            "mediaType": types["manifest"],
            "config": self.config.descriptor(),
            "layers": [blob.descriptor() for blob in self.layers],
        }
        if annotations:
            manifest["annotations"] = annotations
        self.manifest = Blob(json.dumps(manifest).encode(), types["manifest"])
        self.platform = {"architecture": architecture or ARCHITECTURE, "os": os_name}

    @property
    def blobs(self):
        return [self.config, *self.layers]

    @property
    def manifests(self):
        return [self.manifest]

    @property
    def top(self):
        return self.manifest

    @property
    def digest(self):
        return self.top.digest

    @property
    def id(self):
        return self.config.digest


class Index:
    """Several images behind one name, one for each platform."""

    def __init__(self, images, format="oci"):
        self.images = images
        self.top = Blob(
            json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": FORMATS[format]["index"],
                    "manifests": [image.manifest.descriptor(platform=image.platform) for image in images],
                }
            ).encode(),
            FORMATS[format]["index"],
        )

    @property
    def blobs(self):
        return [blob for image in self.images for blob in image.blobs]

    @property
    def manifests(self):
        return [*(image.manifest for image in self.images), self.top]

    @property
    def digest(self):
        return self.top.digest


PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
tester:x:1000:1001:tester:/home/tester:/bin/sh
nobody:x:65534:65534:nobody:/home:/bin/false
"""
GROUP = """root:x:0:
daemon:x:1:
www-data:x:33:
testers:x:1001:
extra:x:2000:tester
nogroup:x:65534:
"""


def busybox_layer(compression="gzip"):
    """A whole small system out of Debian's static busybox."""
    binary = program("busybox")
    with open(binary, "rb") as file:
        data = file.read()
    if b"/lib64/ld-linux" in data[:4096]:
        raise RuntimeError(f"{binary} is not the static one: install busybox-static")
    layer = Layer(compression)
    for name in ("bin", "etc", "root", "home", "home/tester", "proc", "sys", "dev", "run", "usr", "usr/bin", "var", "var/www"):
        layer.folder(name)
    layer.folder("tmp", mode=0o1777)
    layer.file("bin/busybox", data, mode=0o755)
    for applet in subprocess.run([binary, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split():
        if applet != "busybox":
            layer.symlink(f"bin/{applet}", "busybox")
    layer.file("home/tester/of-the-image", "")
    layer.file("etc/passwd", PASSWD).file("etc/group", GROUP)
    return layer


def write_layout(image, folder, tag="latest"):
    """Writes the image as an OCI layout folder."""
    os.makedirs(f"{folder}/blobs/sha256", exist_ok=True)
    for blob in [*image.blobs, *image.manifests]:
        with open(f"{folder}/blobs/sha256/{blob.digest.split(':')[1]}", "wb") as file:
            file.write(blob.data)
    with open(f"{folder}/oci-layout", "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)
    with open(f"{folder}/index.json", "w") as file:
        top = image.top.descriptor(annotations={"org.opencontainers.image.ref.name": tag})
        json.dump({"schemaVersion": 2, "manifests": [top]}, file)


