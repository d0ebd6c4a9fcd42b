"""Additional stores: the images of another crisp, mounted read-only, used where they lie."""
import json
import os
import re
import subprocess

import grpc
import pytest
from conftest import layer_folders
from kit.image import Image, Layer
from kit.wait import wait_for
from support import Node, error_of
from test_cli import Cli
from test_image_volumes import Artifact, mount


@pytest.fixture
def lend(own_daemon, busybox, tmp_path):
    """Pulls names into a daemon's store and stops it; gives the store mounted read-only."""
    mounted = []

    def make(*names):
        node = Node(own_daemon(), busybox)
        for name in names:
            node.pull(name)
        node.daemon.terminate()
        folder = f"{tmp_path}/lent{len(mounted)}"
        os.mkdir(folder)
        subprocess.run(["mount", "--bind", f"{node.daemon.state}/images", folder], check=True)
        mounted.append(folder)
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


class Borrower(Node):
    """A daemon that has pulled nothing."""

    def pull(self, name, **more):
        return None if name == self.image else super().pull(name, **more)


def borrower(own_daemon, busybox, *folders):
    return Borrower(own_daemon(config={"images": f"additional_stores = {json.dumps(folders)}\n"}), busybox)


def contents(folder):
    return sorted(os.path.join(path, name) for path, folders, files in os.walk(folder) for name in folders + files)


def test_its_images_are_used_without_a_registry(own_daemon, busybox, lend, registry):
    volume = registry.push("test/lent", "volume", Image([Layer("gzip").file("inside", "of a volume\n")]))
    folder = lend(busybox, volume)
    before = contents(folder)
    node = borrower(own_daemon, busybox, folder)
    for _ in range(2):
        images = node.client.ListImages().images
        assert sorted(tag for image in images for tag in image.repo_tags) == sorted([busybox, volume])
        assert all(image.pinned for image in images)
        pod = node.pod()
        assert node.output(pod, "cat /volume/inside; echo own >/file; cat /file", mounts=[mount(volume)]) == "of a volume\nown\n"
        (used,) = node.client.ImageFsInfo().image_filesystems
        assert used.used_bytes.value == 0
        assert "additional store" in error_of(lambda: node.client.RemoveImage(image={"image": busybox}), grpc.StatusCode.FAILED_PRECONDITION)
        assert node.image_status(busybox)
        node.daemon.kill()
        node.daemon.start()
    assert contents(folder) == before
    assert not layer_folders(node.daemon)


def test_its_artifacts_are_mounted(own_daemon, busybox, lend, registry):
    name = registry.push("test/lent", "artifact", Artifact(("model", b"weights\n"), artifactType="text/x"))
    folder = lend(busybox, name)
    before = contents(folder)
    node = borrower(own_daemon, busybox, folder)
    for _ in range(2):
        assert name in [tag for image in node.client.ListImages().images for tag in image.repo_tags]
        assert node.output(node.pod(), "cat /volume/model", mounts=[mount(name)]) == "weights\n"
        node.daemon.kill()
        node.daemon.start()
    assert contents(folder) == before


def test_layers_come_from_there(own_daemon, busybox, lend, bad, layer):
    """A pull asks for what is not there alone; without the store its image is not taken in, and comes back with it."""
    folder = lend(busybox)
    image = Image([layer, Layer("gzip").file("above", "of ours\n")])
    name = bad.put("test/lent", "above", image)
    node = borrower(own_daemon, busybox, folder)
    shared, own = image.layers
    node.pull(name)
    assert bad.seen(f"^GET /v2/test/lent/blobs/{own.digest}") == 1
    assert bad.seen(f"^GET /v2/test/lent/blobs/{shared.digest}") == 0
    assert len(layer_folders(node.daemon)) == 1
    pod = node.pod()
    assert node.output(pod, "cat /above", image=name) == "of ours\n"
    node.remove_pod(pod[0])
    cli = Cli(node.daemon)
    assert "0 failed" in cli.run("images", "verify")
    cli.run("images", "save", name, "-o", f"{node.daemon.root}/saved.tar")

    node.daemon.kill()
    node.daemon.start()
    assert not node.image_status(name).pinned
    assert node.output(node.pod(), "cat /above", image=name) == "of ours\n"
    node.daemon.remove_everything()
    node.client.RemoveImage(image={"image": name})
    assert node.image_status(name) is None
    wait_for(lambda: not layer_folders(node.daemon), "the layer of our own to go")
    assert node.image_status(busybox)

    cli.run("images", "load", f"{node.daemon.root}/saved.tar")
    assert len(layer_folders(node.daemon)) == 1  # what is there is not unpacked again
    node.daemon.kill()
    node.daemon.write_config({"images": f'additional_stores = ["{node.daemon.root}/gone"]\n'})
    node.daemon.start()
    assert "additional image store is not used" in node.daemon.log_text()
    assert not node.client.ListImages().images


def test_what_is_damaged_there_is_found_and_not_repaired(own_daemon, busybox, lend, registry):
    name = registry.push("test/lent", "damaged", Image([Layer("gzip").file("one", "one\n")]))  # beside busybox
    folder = lend(name)
    node = borrower(own_daemon, busybox, folder)
    cli = Cli(node.daemon)
    assert "0 failed" in cli.run("images", "verify", name)
    subprocess.run(["mount", "-o", "remount,bind,rw", folder], check=True)
    (tree,) = [tree for tree in os.listdir(f"{folder}/layers") if os.path.exists(f"{folder}/layers/{tree}/one")]
    with open(f"{folder}/layers/{tree}/one", "w") as file:
        file.write("two\n")
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    done = subprocess.run(cli.command("images", "verify"), stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and re.search(r"^FAIL .*one", done.stdout, re.M)
    assert "additional store" in cli.run("images", "repair", name, status=1)
    with open(f"{folder}/layers/{tree}/one") as file:
        assert file.read() == "two\n"
