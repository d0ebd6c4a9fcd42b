"""Images moved and looked at by hand: load, save, check, verify, repair."""
import json
import os
import re
import signal
import subprocess

import pytest
from conftest import layer_folders
from kit.image import Image, Layer
from kit.wait import wait_for
from test_cli import Cli, Terminal

pytestmark = pytest.mark.usefixtures("no_images_left")


@pytest.fixture
def cli(node):
    return Cli(node.daemon)


@pytest.fixture
def pulled(node, registry):
    """An image of two layers: its name and ID."""
    built = Image([Layer("gzip").folder("etc").file("etc/one", "one\n"), Layer("zstd").file("two", "2" * 5000, mode=0o4755)])
    name = registry.push("test/moved", "1", built)
    node.pull(name)
    return name, built.id


FORMS = [([], "file.tar"), (["--format", "docker"], "file.tar"), (["--format", "oci-dir"], "new"), ([], "empty"), (["--compression", "zstd"], "file.tar")]


@pytest.mark.parametrize("options, target", FORMS, ids=lambda value: value if isinstance(value, str) else " ".join(value))
def test_what_is_saved_can_be_loaded(cli, node, pulled, tmp_path, options, target):
    name, id = pulled
    (tmp_path / "empty").mkdir()
    assert cli.run("images", "save", name, "-o", target, *options, cwd=tmp_path) == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({"empty", target})
    cli.run("images", "rm", name)
    assert cli.run("images", "load", target, cwd=tmp_path) == f"{id}  {name}\n"
    assert node.image_status(name).id == id
    assert "0 failed" in cli.run("images", "verify", name)


def test_an_archive_comes_through_a_pipe(cli, node, pulled, tmp_path):
    name, id = pulled
    cli.run("images", "save", name, "-o", str(tmp_path / "image.tar"))
    cli.run("images", "rm", name)
    with subprocess.Popen(["/bin/cat", tmp_path / "image.tar"], stdout=subprocess.PIPE) as cat:
        assert cli.run("images", "load", "-", stdin=cat.stdout) == f"{id}  {name}\n"


def test_a_failed_save_leaves_nothing(cli, pulled, tmp_path):
    name, _ = pulled
    assert "no.example/such:1" in cli.run("images", "save", name, "no.example/such:1", "-o", str(tmp_path / "new.tar"), status=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    assert "full" in cli.run("images", "save", name, "-o", str(tmp_path / "full"), status=1)
    assert "no folder" in cli.run("images", "save", name, "-o", str(tmp_path / "full/file"), "--format", "oci-dir", status=1)
    assert sorted(os.listdir(tmp_path)) == ["full"] and os.listdir(tmp_path / "full") == ["file"]
    assert (tmp_path / "full/file").read_text() == "mine"


def test_what_is_no_archive_is_refused(cli, tmp_path):
    (tmp_path / "junk").write_bytes(os.urandom(5000))
    assert "crisp: " in cli.run("images", "load", "junk", cwd=tmp_path, status=1)
    assert "none" in cli.run("images", "load", "none", cwd=tmp_path, status=1)
    assert "neither a file" in cli.run("images", "load", "/dev/zero", status=1)


def test_an_interrupted_load_ends_in_the_daemon(cli, node):
    reader, writer = os.pipe()
    load = cli.start("images", "load", "-", stdin=reader)
    os.close(reader)
    name = "method=ImageLoad"
    wait_for(lambda: cli.working(), "the load to run")
    load.send_signal(signal.SIGINT)
    load.communicate()
    assert load.returncode == -signal.SIGINT
    wait_for(lambda: re.search(f"call failed.*{name}.*code=CANCELLED", node.daemon.log_text()), "the load to end")
    os.close(writer)
    wait_for(lambda: not cli.working(), "crisp-image to end")


def test_check_of_a_registrys_image(cli, pulled):
    out = cli.run("images", "check", pulled[0])
    assert re.search(r"^pass ", out, re.M) and not re.search(r"^FAIL ", out, re.M)
    assert re.search(r"\d+ looked at: \d+ passed, \d+ with warnings, 0 failed\n$", out)


def test_check_of_a_broken_layout(cli, pulled, tmp_path):
    cli.run("images", "save", pulled[0], "-o", "layout", "--format", "oci-dir", cwd=tmp_path)
    assert "0 failed" in cli.run("images", "check", "./layout", cwd=tmp_path)
    index = json.loads((tmp_path / "layout/index.json").read_text())
    (tmp_path / "layout/blobs/sha256" / index["manifests"][0]["digest"].split(":")[1]).write_text("{}")
    done = subprocess.run(cli.command("images", "check", "./layout"), cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 1 and re.search(r"^FAIL .*" + index["manifests"][0]["digest"], done.stdout, re.M)


def test_verify_finds_and_repair_mends(cli, node, pulled):
    name, _ = pulled
    said = cli.run("images", "verify", name, "-v")
    assert re.search(r"^pass ", said, re.M) and "0 failed" in said
    assert not re.search(r"^pass ", cli.run("images", "verify", name), re.M)
    file, = [f"{folder}/{digest}/etc/one" for folder, digest in ((f, d) for f in {os.path.dirname(x) for x in layer_folders(node.daemon)}
             for d in os.listdir(f)) if os.path.exists(f"{folder}/{digest}/etc/one")]
    with open(file, "w") as broken:
        broken.write("two\n")
    done = subprocess.run(cli.command("images", "verify"), stdout=subprocess.PIPE, text=True)
    assert done.returncode == 1 and re.search(r"^FAIL .*etc/one", done.stdout, re.M)
    assert "0 failed" in cli.run("images", "repair", name)
    assert "0 failed" in cli.run("images", "verify")
    assert "no.example/such:1" in cli.run("images", "verify", "no.example/such:1", status=1)


def test_progress_has_a_bar_on_a_terminal_and_leaves_no_trace(cli, pulled):
    shown = Terminal(cli.command("images", "verify", pulled[0]))
    assert shown.end() == 0
    assert re.search(r"0 failed\r\n$", shown.text)


WRONG = [["load"], ["load", "a", "b"], ["load", ""], ["save", "a"], ["save", "-o", "b"], ["save", "a", "-o", "-"], ["save", "a", "-o", "b", "--format", "c"],
         ["save", "a", "-o", "b", "--compression", "c"], ["check"], ["check", "a", "b"], ["verify", "--json"]]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_arguments(node, words):
    done = subprocess.run([node.daemon.crisp, "images", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stdout == "" and 'Try "crisp help".' in done.stderr
