"""After the machine went down: what was pulled last is looked at again, and fetched again where it is broken."""
import os
import subprocess

import pytest
from kit.image import Image, Layer
from kit.registry import Registry
from kit.wait import wait_for

WHOLE = "as it was built\n"


@pytest.fixture
def private_registry(workdir):
    """One that can be taken away."""
    with Registry(f"{workdir}/private") as registry:
        yield registry


def layer_file(node, image):
    return f"{node.daemon.state}/images/layers/{image.diff_ids[0].partition(':')[2]}/data/file"


def break_file(path):
    """Other bytes, as a disk that lied would have them: size and times stay."""
    status = os.stat(path)
    with open(path, "r+") as file:
        file.write("X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def reboot(node, unclean=True):
    """The machine comes up again: the marker is of another boot."""
    node.daemon.kill()
    marker = f"{node.daemon.state}/images/running"
    if unclean:
        with open(marker, "w") as file:
            file.write("00000000-0000-0000-0000-000000000000")
    node.daemon.start()
    return marker


def read(path):
    with open(path) as file:
        return file.read()


def explain(node):
    return subprocess.run([node.daemon.crisp, "explain", "--socket", node.daemon.socket], stdout=subprocess.PIPE, text=True, check=True).stdout


def pull(node, registry, name):
    image = Image([Layer().file("data/file", WHOLE).file("data/name", name)])
    reference = registry.push(f"test/{name}", "1", image)
    node.pull(reference)
    return image, reference


def test_a_broken_image_is_fetched_again_and_a_whole_one_is_left(own_node, registry):
    node = own_node()
    broken, name = pull(node, registry, "broken")
    whole, _ = pull(node, registry, "whole")
    untouched = os.stat(os.path.dirname(os.path.dirname(layer_file(node, whole)))).st_ino
    break_file(layer_file(node, broken))
    marker = reboot(node)
    wait_for(lambda: read(marker).strip() != "00000000-0000-0000-0000-000000000000", "all suspect images to be looked at")
    assert read(layer_file(node, broken)) == WHOLE
    assert node.image_status(name).id == broken.id
    assert os.stat(os.path.dirname(os.path.dirname(layer_file(node, whole)))).st_ino == untouched
    log = node.daemon.log_text()
    assert "a broken image is whole again" in log and broken.id in log
    told = explain(node)
    assert "of 3 that were pulled last 3 are looked at" in told and ", 1 fetched again" in told and "; now" not in told


def test_what_cannot_be_fetched_again_is_removed(own_node, private_registry):
    node = own_node()
    broken, name = pull(node, private_registry, "lost")
    break_file(layer_file(node, broken))
    private_registry.stop()
    reboot(node)
    wait_for(lambda: node.image_status(name) is None, "the broken image to be removed")
    assert "cannot be fetched again: it is removed" in node.daemon.log_text()
    wait_for(lambda: "2 are looked at" in explain(node), "both to be looked at")
    assert ", 1 broken and removed" in explain(node)
    assert node.image_status(node.image) is not None


def test_a_killed_daemon_is_no_machine_that_went_down(own_node, registry):
    """And one that was stopped leaves no marker."""
    node = own_node()
    broken, _ = pull(node, registry, "killed")
    break_file(layer_file(node, broken))
    marker = reboot(node, unclean=False)
    assert "the machine went down" not in node.daemon.log_text() and "machine" not in explain(node)
    node.daemon.terminate()
    assert not os.path.exists(marker)
    node.daemon.start()
    assert os.path.exists(marker)
