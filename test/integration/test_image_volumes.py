"""Images as volumes: mounted read-only, whole or a folder of them, and gone with their container."""
import json
import os

import grpc
import pytest
from kit.image import OCI, Blob, Image, Layer
from kit.wait import wait_for
from support import FAILS, error_of

pytestmark = pytest.mark.handler

UNKNOWN = grpc.StatusCode.UNKNOWN


@pytest.fixture(scope="module")
def volume(registry):
    """An image that is no system: two layers, links, and a program."""
    lower = Layer().file("top", "top\n").folder("dir").folder("dir/sub").file("dir/sub/file", "lower\n").file("dir/gone")
    upper = Layer().file("dir/sub/file", "upper\n").file("dir/.wh.gone").symlink("link", "dir/sub").symlink("out", "/dir/sub")
    upper.symlink("escape", "../../../../dir").symlink("host", "/etc").file("run", "#!/bin/sh\necho ran\n", mode=0o755)
    return registry.push("test/volume", "1", Image([lower, upper]))


def mount(image, path="/volume", **more):
    return {"container_path": path, "image": {"image": image}, "readonly": True, **more}


def output(node, command, *mounts):
    return node.output(node.pod(), command, mounts=list(mounts))


def test_a_whole_image(node, volume):
    image = node.pull(volume)
    for name in (volume, image, image.removeprefix("sha256:")):
        assert output(node, "cat /volume/top /volume/dir/sub/file; ls /volume/dir", mount(name)) == "top\nupper\nsub\n"
    twice = output(
        node, "cat /a/top /b/top; echo x 2>&- >/a/new || echo no; echo x 2>&- >/b/top || echo no; /a/run",
        mount(volume, "/a"), mount(volume, "/b"),
    )
    assert twice == "top\ntop\nno\nno\nran\n"


@pytest.mark.parametrize("change", [{"readonly": False}, {"host_path": "/tmp"}, {"propagation": 2}])
def test_what_an_image_cannot_be(node, volume, change):
    node.pull(volume)
    message = error_of(lambda: node.create(node.pod(), ["true"], mounts=[mount(volume) | change]), grpc.StatusCode.INVALID_ARGUMENT)
    assert "config.mounts" in message


def test_beside_the_containers_own(node, volume):
    """Also the image that the container itself runs."""
    node.pull(volume)
    listing = output(node, "cat /one/file /two/top; test -x /three/bin/busybox && echo busybox",
                     mount(volume, "/one", image_sub_path="dir/sub"), mount(volume, "/two"), mount(node.image, "/three"))
    assert listing == "upper\ntop\nbusybox\n"


@pytest.mark.parametrize("path,names", [("dir", "sub"), ("dir/sub", "file"), ("link", "file"), ("out", "file"), ("./dir//sub/", "file"), ("escape", "sub")])
def test_a_folder_of_an_image(node, volume, path, names):
    node.pull(volume)
    assert output(node, "ls /volume", mount(volume, image_sub_path=path)) == names + "\n"


@pytest.mark.parametrize("path", ["missing", "dir/missing", "/dir", "..", "dir/..", "../dir", "host", "top", "top/x"])
def test_a_folder_that_is_not_in_the_image(node, volume, path):
    node.pull(volume)
    pod = node.pod()
    message = error_of(lambda: node.create(pod, ["true"], mounts=[mount(volume, image_sub_path=path)]), UNKNOWN)
    assert message.startswith("ImageVolumeMountFailed: ") and volume in message and path in message
    # The name is free again.
    assert node.create(pod, ["true"], mounts=[mount(volume)])


def test_an_image_that_is_not_here(node, registry):
    message = error_of(lambda: node.create(node.pod(), ["true"], mounts=[mount(f"{registry.host}/test/nowhere:1")]), UNKNOWN)
    assert message.startswith("ImageVolumeMountFailed: ") and "test/nowhere:1" in message


def test_the_image_is_known_by_its_id_and_stays_with_the_container(own_node, volume):
    node = own_node()
    node.pull(volume)
    id = node.image_status(volume).id
    pod = node.pod()
    container = node.create(pod, ["sleep", "1000"], mounts=[mount(volume, image_sub_path="dir")])
    node.start(container)
    node.client.RemoveImage(image={"image": id})
    assert node.image_status(volume) is None
    for _ in range(2):
        status = node.client.ContainerStatus(container_id=container).status
        (shown,) = status.mounts
        assert (shown.image.image, shown.image.image_ref, shown.image.user_specified_image, shown.image_sub_path) == (id, id, volume, "dir")
        assert shown.readonly and shown.container_path == "/volume"
        assert node.exec_sh(container, "cat /volume/sub/file") == "upper\n"
        node.daemon.kill()
        node.daemon.start()
    record = f"{node.daemon.state}/images/records/{id.split(':')[1]}.json"
    assert os.path.exists(record)
    node.client.RemoveContainer(container_id=container)
    wait_for(lambda: not os.path.exists(record), "the image to go with its container")


def test_a_crash_leaves_no_mount(own_node, volume):
    """What a daemon mounted for a container goes with it, also when another daemon removes it. What is left fails the test at its end."""
    node = own_node()
    node.pull(volume)
    pod = node.pod()
    created = node.create(pod, ["true"], mounts=[mount(volume)])
    running = node.create(pod, ["sleep", "1000"], name="running", mounts=[mount(volume), mount(volume, "/b", image_sub_path="dir")])
    node.start(running)
    node.daemon.kill()
    node.daemon.start()
    for container in (created, running):
        node.client.RemoveContainer(container_id=container)
    with open("/proc/self/mountinfo") as file:
        assert f"{node.daemon.run}/containers" not in file.read()


# ---- artifacts ----

class Artifact:
    """Files that are kept like an image: (title, bytes), a title of None for none."""

    def __init__(self, *files, config_type="application/vnd.oci.empty.v1+json", **more):
        config = Blob(b"{}", config_type)
        self.files = [Blob(data, "application/octet-stream") for _, data in files]
        descriptors = [
            blob.descriptor(**({"annotations": {"org.opencontainers.image.title": title}} if title is not None else {}))
            for blob, (title, _) in zip(self.files, files)
        ]
        document = {"schemaVersion": 2, "mediaType": OCI["manifest"], "config": config.descriptor(), "layers": descriptors, **more}
        self.top = Blob(json.dumps(document).encode(), OCI["manifest"])
        self.blobs, self.manifests = [config, *self.files], [self.top]


def test_an_artifact_is_kept_and_mounted(own_node, registry):
    node = own_node()
    plain = Layer("tar").file("inside", "a tar stream\n").tar()
    made = Artifact(("model/weights", b"weights\n" * 1000), ("readme", b"read\n"), (None, b"no title\n"), ("tar", plain), artifactType="text/x")
    name = registry.push("test/artifact", "1", made)
    image = Image([Layer("tar").file("inside", "a tar stream\n")])  # a layer whose diff ID is the digest of one of the files
    other = registry.push("test/artifact", "image", image)
    for _ in range(2):  # again: nothing changes
        assert node.pull(name) == made.top.digest
    node.pull(other)
    for _ in range(2):
        status = node.image_status(name)
        assert (status.id, status.repo_tags) == (made.top.digest, [name])
        assert status.size >= sum(len(blob.data) for blob in made.files)
        untitled = made.files[2].digest.split(":")[1]
        listing = output(
            node, f"cd /a; find . -type f | sort; wc -c <model/weights; cat {untitled} /one; cmp tar /two && echo same; echo x 2>&- >readme || echo no",
            mount(name, "/a"), mount(name, "/one", image_sub_path="readme"), mount(name, "/two", image_sub_path="tar"),
        )
        files = sorted(["./model/weights", "./readme", f"./{untitled}", "./tar"])
        assert listing.splitlines() == [*files, "8000", "no title", "read", "same", "no"]
        assert output(node, "ls /b", mount(other, "/b")) == "inside\n"
        assert output(node, "ls /m", mount(name, "/m", image_sub_path="model")) == "weights\n"
        info = node.client.ImageStatus(image={"image": name}, verbose=True).info["info"]
        assert json.loads(info)["imageSpec"]["artifactType"] == "text/x"
        node.daemon.kill()
        node.daemon.start()
    message = error_of(lambda: node.create(node.pod(), ["true"], image=name), grpc.StatusCode.FAILED_PRECONDITION)
    assert "artifact" in message and name in message
    node.daemon.remove_everything()
    node.client.RemoveImage(image={"image": name})
    assert node.image_status(name) is None
    assert os.listdir(f"{node.daemon.state}/images/artifacts") == []
    assert output(node, "ls /b", mount(other, "/b")) == "inside\n"


@pytest.mark.parametrize("titles", [("../x",), ("/x",), ("a/../../x",), ("",), ("a//b",), (".",), ("same", "same"), ("a", "a/b"), ("x" * 300,)])
def test_titles_that_lead_elsewhere(node, registry, titles):
    made = Artifact(*((title, b"x%d" % i) for i, title in enumerate(titles)))
    name = registry.push("test/titles", made.top.digest[-12:], made)
    message = error_of(lambda: node.pull(name), *FAILS)
    assert "title" in message
    assert node.image_status(name) is None


@pytest.mark.parametrize("config_type", ["application/vnd.cncf.helm.config.v1+json", "text/x-unknown"])
def test_any_other_configuration_is_an_artifacts(node, registry, config_type):
    made = Artifact(("chart", b"chart\n"), config_type=config_type)
    name = registry.push("test/charts", made.top.digest[-12:], made)
    assert node.pull(name) == made.top.digest
    assert output(node, "cat /a/chart", mount(name, "/a")) == "chart\n"
