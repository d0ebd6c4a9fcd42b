"""Programs of the operator that say whether an image may be pulled."""
import json
import os
import subprocess
import threading

import pytest
from kit.image import Index
from kit.wait import wait_for
from support import KINDS, error_of, small

WORD = "SignatureValidationFailed"
DESCRIPTOR = "application/vnd.oci.descriptor.v1+json"


class Verifiers:
    def __init__(self, root):
        self.root = str(root)
        self.folder = f"{root}/verifiers"
        os.mkdir(self.folder)

    def put(self, script, name="one", mode=0o755):
        with open(f"{self.folder}/.{name}", "w") as file:
            file.write(f"#!/bin/sh\n{script}\n")
        os.chmod(f"{self.folder}/.{name}", mode)
        os.rename(f"{self.folder}/.{name}", f"{self.folder}/{name}")

    def read(self, name):
        with open(f"{self.root}/{name}") as file:
            return file.read()


@pytest.fixture
def verifiers(tmp_path):
    return Verifiers(tmp_path)


@pytest.fixture
def gated(own_node, verifiers):
    """A node that asks the verifiers."""
    node = own_node(network=False)
    node.daemon.kill()
    node.daemon.write_config(extra={"images": f'verifier_dir = "{verifiers.folder}"\nverifier_timeout = 2\n'})
    node.daemon.start()
    return node


def refused(call):
    message = error_of(call, KINDS.UNKNOWN)
    assert message.startswith(WORD), message
    return message


def test_an_image_that_is_let_in(gated, bad, verifiers):
    built = small("let-in")
    index = Index([built])
    verifiers.put(f'printf "%s\\n" "$@" >{verifiers.root}/arguments; cat >{verifiers.root}/stdin; echo fine')
    name = bad.put("gate/app", "1", index)
    gated.pull(name)
    assert gated.image_status(name).id == built.id
    assert verifiers.read("arguments").split("\n")[:6] == [
        "-name", name, "-digest", index.top.digest, "-stdin-media-type", DESCRIPTOR]
    assert json.loads(verifiers.read("stdin")) == {
        "mediaType": json.loads(index.top.data)["mediaType"], "digest": index.top.digest, "size": len(index.top.data)}


@pytest.mark.parametrize("script,mode,said", [
    ("echo it smells; exit 1", 0o755, "exit status 1): it smells"),
    ("sleep 1000", 0o755, "did not come to an end within 2 s"),
    ("while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done", 0o755, "did not come to an end within 2 s"),
    ("head -c 1000000 /dev/zero | tr '\\0' a; exit 1", 0o755, "aaaaaaaa..."),
    ("exit 0", 0o644, "one cannot be run"),
], ids=["refuses", "hangs", "floods", "floods and ends", "is not executable"])
def test_a_refusal_before_anything_is_fetched(gated, bad, verifiers, script, mode, said):
    name = bad.put("gate/app", "1", small("refused"))
    verifiers.put(script, mode=mode)
    message = refused(lambda: gated.pull(name))
    assert said in message and name in message
    assert not bad.seen("/blobs/")
    assert gated.image_status(name) is None


def test_an_image_that_is_here_is_asked_about_again(gated, bad, verifiers):
    name = bad.put("gate/app", "1", small("here"))
    gated.pull(name)  # there are no programs yet
    verifiers.put("echo not any more; exit 1")
    assert "not any more" in refused(lambda: gated.pull(name))
    assert "not any more" in refused(lambda: gated.pull(bad.put("gate/app", "2", small("here"))))


def test_who_joins_a_pull_gets_its_refusal(gated, bad, verifiers):
    verifiers.put(f"echo x >>{verifiers.root}/asked; while ! test -e {verifiers.root}/go; do sleep 0.01; done; echo no; exit 1")
    name = bad.put("gate/app", "1", small("joined"))
    messages = []
    threads = [threading.Thread(target=lambda: messages.append(refused(lambda: gated.pull(name)))) for _ in range(2)]
    threads[0].start()
    wait_for(lambda: os.path.exists(f"{verifiers.root}/asked"), "the verifier to be asked")
    threads[1].start()
    command = [gated.daemon.crisp, "metrics", "--socket", gated.daemon.socket]
    wait_for(lambda: b"crisp_image_pulls_joined_total 1\n" in subprocess.check_output(command), "the second to join")
    open(f"{verifiers.root}/go", "w").close()
    for thread in threads:
        thread.join()
    assert verifiers.read("asked") == "x\n"
    assert len(messages) == 2 and all("exit status 1): no" in message for message in messages)


def test_a_folder_that_is_missing_lets_nothing_in(gated, bad, verifiers):
    os.rmdir(verifiers.folder)
    name = bad.put("gate/app", "1", small("no-folder"))
    assert verifiers.folder in refused(lambda: gated.pull(name))
