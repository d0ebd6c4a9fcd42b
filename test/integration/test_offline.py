"""Images without a registry: what crisp-image verifies, saves, loads and checks, against others' tools."""
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile

import pytest
from kit.image import Image, Layer, busybox_layer, program, write_layout

pytestmark = pytest.mark.usefixtures("no_images_left")

MUCH = {"layer_bytes": 0}
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def errand(build, request, path=None, write=False):
    """One conversation with crisp-image: (replies by kind, error message or None)."""
    extra = []
    if path is not None:
        flags = os.O_RDONLY if os.path.isdir(path) or not write else os.O_RDWR | os.O_CREAT | os.O_EXCL
        fd = os.open(path, flags, 0o600)
        extra = [fd]
    # What is handed over is descriptor 3.
    script = f"exec 3<&{extra[0]}; exec \"$0\"" if extra else "exec \"$0\""
    with subprocess.Popen(["bash", "-c", script, os.path.join(ROOT, build, "crisp-image")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          pass_fds=extra) as child:
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
        replies = [json.loads(line) for line in child.stdout]
        child.stdin.close()
    for fd in extra:
        os.close(fd)
    found = {}
    for reply in replies:
        for kind, value in reply.items():
            found.setdefault(kind, []).append(value)
    errors = found.pop("error", None)
    return found, errors[0]["message"] if errors else None


@pytest.fixture
def stored(node, registry, build):
    """Pulls an image; gives its folder in the store and how it is described to crisp-image."""
    class Stored:
        store = f"{node.daemon.state}/images"

        def pull(self, *layers, tag):
            self.image = Image(list(layers))
            self.name = registry.push("test/offline", tag, self.image)
            node.pull(self.name)
            with open(f"{self.store}/records/{self.image.id.split(':')[1]}.json") as file:
                self.record = json.load(file)
            return self

        def described(self, **more):
            record = self.record
            return {"id": record["id"], "manifest": record["manifest"], "names": record["tags"],
                    "layers": [layer["diff_id"] for layer in record["layers"]], **more}

        def verify(self):
            found, error = errand(build, {"kind": "verify", "store": self.store, "images": [self.described()]})
            assert error is None
            return found["finding"]

        def failures(self):
            return [(f["what"], f["text"]) for f in self.verify() if f["verdict"] == 3]

        def tree(self, index=0):
            return f"{self.store}/layers/{self.record['layers'][index]['diff_id'].split(':')[1]}"

        def save(self, path, format=0, compression=0):
            found, error = errand(build, {"kind": "save", "store": self.store, "images": [self.described()],
                                          "format": format, "compression": compression}, path, write=True)
            assert error is None, error
            return found
    return Stored()


def odd_layer():
    return (Layer().folder("d", mode=0o750, uid=5).file("d/file", b"contents" * 1000, mode=0o640, uid=70000, gid=3).file("d/empty")
            .hardlink("d/hard", "d/file").symlink("d/link", "file").fifo("d/pipe").file("d/.wh.gone").file("implied/x", "x")
            .file("d/\u00fcml", "u", pax={"SCHILY.xattr.user.note": "kept"}).folder("op").file("op/.wh..wh..opq")
            .file("twice", "first").file("twice", "second"))


def load(build, path, tmp_path, **more):
    staging = tmp_path / f"staging-{os.urandom(4).hex()}"
    staging.mkdir()
    request = {"kind": "load", "fetch": {"reference": "archive", "staging": str(staging), "endpoints": [], "present": [],
                                         "limits": MUCH}, **more}
    found, error = errand(build, request, path)
    return found.get("loaded", []), error, staging


# ---- verify ----

def test_a_whole_image_passes(stored):
    found = stored.pull(odd_layer(), Layer("zstd").file("d/hard", "above"), tag="whole").verify()
    assert [f for f in found if f["verdict"] != 1] == []
    assert len(found) == 3


def test_every_change_is_found(stored):
    stored.pull(odd_layer(), tag="changed")
    tree = stored.tree()

    def flip():
        with open(f"{tree}/d/file", "r+b") as file:
            status = os.stat(file.fileno())
            file.write(b"C")
        os.utime(f"{tree}/d/file", ns=(status.st_atime_ns, status.st_mtime_ns))

    def unflip():
        with open(f"{tree}/d/file", "r+b") as file:
            status = os.stat(file.fileno())
            file.write(b"c")
        os.utime(f"{tree}/d/file", ns=(status.st_atime_ns, status.st_mtime_ns))

    flip()
    assert stored.failures() == [("contents", "d/file: its contents have changed")]
    unflip()
    assert stored.failures() == []
    os.chmod(f"{tree}/d/empty", 0o600)
    assert stored.failures() == [("mode", "d/empty: it is 0600 instead of 0644")]
    os.chmod(f"{tree}/d/empty", 0o644)
    os.chown(f"{tree}/d/link", 1, 2, follow_symlinks=False)
    assert stored.failures() == [("owner", "d/link: it is 1:2 instead of 0:0")]
    os.chown(f"{tree}/d/link", 0, 0, follow_symlinks=False)
    os.setxattr(f"{tree}/d/\u00fcml", "user.note", b"lost")
    assert [what for what, _ in stored.failures()] == ["extended attribute"]
    os.setxattr(f"{tree}/d/\u00fcml", "user.note", b"kept")
    assert stored.failures() == []
    time = os.stat(f"{tree}/d").st_mtime_ns
    with open(f"{tree}/d/more", "w"):
        pass
    os.utime(f"{tree}/d", ns=(time, time))
    assert stored.failures() == [("entry", "d/more: the layer does not have it (a file)")]
    os.unlink(f"{tree}/d/more")
    os.unlink(f"{tree}/d/gone")
    os.unlink(f"{tree}/d/empty")
    os.utime(f"{tree}/d", ns=(time, time))
    assert stored.failures() == [("entry", "d/empty: it is missing"), ("whiteout", "d/gone: it is missing")] or \
        sorted(stored.failures()) == [("entry", "d/empty: it is missing"), ("whiteout", "d/gone: it is missing")]


def test_damaged_documents_are_found(stored):
    stored.pull(Layer().file("a", "a"), tag="documents")
    with open(f"{stored.store}/configs/{stored.record['id'].split(':')[1]}", "ab") as file:
        file.write(b" ")
    assert [what for what, _ in stored.failures()] == ["configuration"]
    shutil.rmtree(stored.tree())
    assert "tree" in [what for what, _ in stored.failures()]


def test_a_layer_without_a_record_is_said_to_have_none(stored):
    stored.pull(Layer().file("a", "a"), tag="old")
    os.unlink(f"{stored.store}/tars/{stored.record['layers'][0]['diff_id'].split(':')[1]}")
    assert [(f["what"], f["verdict"]) for f in stored.verify() if f["verdict"] != 1] == [("record", 2)]


# ---- save and load ----

@pytest.mark.parametrize("compression", [0, 1, 2])
def test_a_saved_layout_is_read_by_others(stored, tmp_path, compression):
    stored.pull(odd_layer(), Layer().file("d/two", "2"), tag=f"saved-{compression}")
    path = str(tmp_path / "saved.tar")
    stored.save(path, 0, compression)
    told = json.loads(subprocess.run([program("skopeo"), "inspect", "--config", "--raw", f"oci-archive:{path}"], check=True,
                                     stdout=subprocess.PIPE).stdout)
    assert told["rootfs"]["diff_ids"] == [layer["diff_id"] for layer in stored.record["layers"]]
    # skopeo checks every digest and diff ID on its way.
    run(program("skopeo"), "--insecure-policy", "copy", f"oci-archive:{path}", f"oci:{tmp_path}/copied:latest")
    if compression == 2:
        return  # which umoci does not know
    run(program("umoci"), "unpack", "--image", f"{tmp_path}/copied:latest", f"{tmp_path}/bundle")
    with open(tmp_path / "bundle/rootfs/d/file", "rb") as file:
        assert file.read() == b"contents" * 1000
    assert os.stat(tmp_path / "bundle/rootfs/d/file").st_uid == 70000


def test_a_saved_folder_and_docker_archive_are_read_by_others(stored, tmp_path):
    stored.pull(odd_layer(), tag="docker")
    folder = tmp_path / "folder"
    folder.mkdir()
    stored.save(str(folder), 1)
    run(program("umoci"), "unpack", "--image", f"{folder}:{stored.name}", f"{tmp_path}/bundle")
    path = str(tmp_path / "docker.tar")
    stored.save(path, 2)
    run(program("skopeo"), "--insecure-policy", "copy", f"docker-archive:{path}", f"oci:{tmp_path}/copied:latest")
    with tarfile.open(path) as archive:
        listed = json.load(archive.extractfile("manifest.json"))
        config = archive.extractfile(listed[0]["Config"]).read()
    assert listed[0]["RepoTags"] == [stored.name]
    assert "sha256:" + hashlib.sha256(config).hexdigest() == stored.record["id"]


@pytest.mark.parametrize("format", [0, 2])
def test_what_is_saved_loads_as_the_same_image(stored, build, tmp_path, format):
    stored.pull(odd_layer(), Layer().file("d/two", "2"), tag=f"again-{format}")
    path = str(tmp_path / "saved.tar")
    stored.save(path, format)
    with open(path, "rb") as file, gzip.open(f"{path}.gz", "wb", 1) as packed:
        shutil.copyfileobj(file, packed)
    for each in (path, f"{path}.gz"):
        loaded, error, staging = load(build, each, tmp_path)
        assert error is None
        assert [(one["names"], one["result"]["config_digest"]) for one in loaded] == [([stored.name], stored.record["id"])]
        layers = loaded[0]["result"]["layers"]
        assert [layer["diff_id"] for layer in layers] == [layer["diff_id"] for layer in stored.record["layers"]]
        with open(staging / "0/layers" / layers[0]["directory"] / "d/file", "rb") as file:
            assert file.read() == b"contents" * 1000


def test_archives_of_others_load(build, tmp_path):
    image = Image([busybox_layer(), Layer().file("a", "a")])
    write_layout(image, str(tmp_path / "layout"), "v1")
    skopeo = [program("skopeo"), "--insecure-policy", "copy", f"oci:{tmp_path}/layout:v1"]
    run(*skopeo, f"docker-archive:{tmp_path}/docker.tar:example.test/a/b:1")
    run(*skopeo, f"oci-archive:{tmp_path}/oci.tar:example.test/a/b:1")
    for name in ("docker.tar", "oci.tar"):
        loaded, error, _ = load(build, str(tmp_path / name), tmp_path)
        assert error is None
        assert loaded[0]["names"] == ["example.test/a/b:1"]
        assert len(loaded[0]["result"]["layers"]) == 2
    # A tag alone is no name.
    loaded, error, _ = load(build, str(tmp_path / "layout"), tmp_path)
    assert "name" in error and loaded == []
    loaded, error, _ = load(build, str(tmp_path / "layout"), tmp_path, name="example.test/c")
    assert loaded[0]["names"] == ["example.test/c:v1"]
    assert loaded[0]["result"]["config_digest"] == image.id


# ---- hostile archives ----

def tar_of(path, files, links=()):
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)


def layout_files(image):
    files = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')]
    for blob in [*image.blobs, *image.manifests]:
        files.append((f"blobs/sha256/{blob.digest.split(':')[1]}", blob.data))
    top = image.top.descriptor(annotations={"org.opencontainers.image.ref.name": "a.test/b:1"})
    files.append(("index.json", json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()))
    return files


@pytest.mark.parametrize("what, words", [
    ("twice", "twice"), ("escape", ".."), ("missing", "missing"), ("digest", "digest"), ("nothing", "neither"),
    ("link-out", "out of the archive"), ("size", "bytes"), ("bomb", "bound"), ("cut", ""), ("no-tar", ""),
])
def test_hostile_archives_are_refused_in_words(build, tmp_path, what, words):
    image = Image([Layer().file("zero", bytes(4 << 20))])
    files = layout_files(image)
    links = []
    blob = image.blobs[0]
    limits = {}
    if what == "twice":
        files.append(files[1])
    elif what == "escape":
        files.append(("../up", b"x"))
    elif what == "missing":
        files = [(name, data) for name, data in files if blob.digest[7:] not in name]
    elif what == "digest":
        files = [(name, data[:-1] + bytes([data[-1] ^ 1]) if blob.digest[7:] in name else data) for name, data in files]
    elif what == "size":
        files = [(name, data + b"x" if blob.digest[7:] in name else data) for name, data in files]
    elif what == "nothing":
        files = [("readme", b"x")]
    elif what == "link-out":
        links = [("blobs/sha256/link", "../../../etc/passwd")]
    elif what == "bomb":
        limits = {"unpacked_bytes": 1 << 20}
    path = tmp_path / "hostile.tar"
    tar_of(path, files, links)
    if what == "cut":
        os.truncate(path, 3000)
    if what == "no-tar":
        path.write_bytes(b"this is no tar" * 1000)
    staging = tmp_path / "staging"
    staging.mkdir()
    found, error = errand(build, {"kind": "load", "fetch": {"reference": "archive", "staging": str(staging), "endpoints": [],
                                                            "present": [], "limits": limits}}, str(path))
    assert error and words in error
    assert "loaded" not in found


def test_a_folder_with_symlinked_blobs_is_refused(build, tmp_path):
    image = Image([Layer().file("a", "a")])
    write_layout(image, str(tmp_path / "layout"), "a.test/b:1")
    path = tmp_path / "layout/blobs/sha256" / image.blobs[0].digest[7:]
    shutil.move(path, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", path)
    loaded, error, _ = load(build, str(tmp_path / "layout"), tmp_path)
    assert "symlink" in error and loaded == []


# ---- check ----

def check(build, path, tmp_path):
    staging = tmp_path / f"check-{os.urandom(4).hex()}"
    staging.mkdir()
    found, error = errand(build, {"kind": "check", "fetch": {"reference": "archive", "staging": str(staging), "endpoints": [],
                                                             "present": [], "limits": {}}}, str(path))
    assert error is None
    return [(f["object"], f["what"], f["text"]) for f in found["finding"] if f["verdict"] == 3], found["finding"]


def test_a_compliant_layout_passes(build, tmp_path):
    write_layout(Image([Layer().file("a", "a"), Layer("zstd").file("b", "b"), Layer("tar").file("c", "c")]), str(tmp_path / "layout"))
    failures, found = check(build, tmp_path / "layout", tmp_path)
    assert failures == []
    assert {"imageLayoutVersion", "schemaVersion", "digest", "rootfs", "platform", "diff ID", "tar"} <= {f["what"] for f in found}


def test_each_violation_is_named(build, tmp_path):
    def failures_of(name, **more):
        image = Image([Layer().file("a", "a")], **more)
        write_layout(image, str(tmp_path / name))
        return image, str(tmp_path / name)
    _, path = failures_of("docker", format="docker")
    failures, _ = check(build, path, tmp_path)
    assert any("valid Docker schema 2, not OCI" in text for _, _, text in failures)
    _, path = failures_of("diff", diff_ids=["sha256:" + "0" * 64])
    failures, _ = check(build, path, tmp_path)
    assert [what for _, what, _ in failures] == ["diff ID"]
    image, path = failures_of("blob")
    with open(f"{path}/blobs/sha256/{image.blobs[0].digest[7:]}", "ab") as file:
        file.write(b"\0")
    failures, _ = check(build, path, tmp_path)
    assert "digest" in [what for _, what, _ in failures]
    _, path = failures_of("version")
    with open(f"{path}/oci-layout", "w") as file:
        file.write('{"imageLayoutVersion":"7"}')
    failures, _ = check(build, path, tmp_path)
    assert failures == [("oci-layout", "imageLayoutVersion", '"7" instead of "1.0.0"')]
