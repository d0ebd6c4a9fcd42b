"""Encrypted images, as skopeo and ocicrypt make them: pulled where a key fits, refused in words elsewhere."""
import os
import subprocess

import pytest
from kit.paths import program
from support import KINDS, error_of

pytestmark = pytest.mark.usefixtures("no_images_left")


def run(*words):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def make_key(path, kind):
    """A private key at path, and its public half beside it."""
    options = {"rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
               "ec": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]}[kind]
    run(program("openssl"), "genpkey", *options, "-out", str(path))
    run(program("openssl"), "pkey", "-in", str(path), "-pubout", "-out", f"{path}.pub")
    return f"{path}.pub"


def encrypt(registry, source, target, *public):
    keys = [word for key in public for word in ("--encryption-key", f"jwe:{key}")]
    run(program("skopeo"), "copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", *keys,
        f"docker://{source}", f"docker://{registry.host}/{target}")
    return f"{registry.host}/{target}"


@pytest.fixture
def keys(tmp_path):
    (tmp_path / "keys").mkdir()
    return tmp_path / "keys"


@pytest.fixture
def crypt_node(own_node, keys):
    return own_node(config={"images": f'decryption_keys_dir = "{keys}"\n'})


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_an_encrypted_image_is_pulled_with_its_key(crypt_node, registry, image, keys, tmp_path, kind):
    node = crypt_node
    public = make_key(keys / "ours.pem", kind)
    other = make_key(tmp_path / "other.pem", "rsa")
    plain = image("plain", config={"Labels": {"kind": kind}})
    name = encrypt(registry, plain, f"test/encrypted:{kind}", other, public)
    node.pull(name)
    assert node.output(node.pod(), "echo decrypted", image=name) == "decrypted\n"


def test_without_a_key_the_pull_fails_and_says_what_to_do(own_node, registry, image, keys, tmp_path):
    # None of the layers may be here already: what is here is not fetched, nor decrypted.
    node = own_node(config={"images": f'decryption_keys_dir = "{keys}"\n'})
    node.client.RemoveImage(image={"image": node.image})
    public = make_key(tmp_path / "other.pem", "rsa")
    name = encrypt(registry, image("plain"), "test/encrypted:foreign", public)
    assert "images.decryption_keys_dir" in error_of(lambda: node.pull(name), KINDS.FAILED_PRECONDITION)
    make_key(keys / "ours.pem", "rsa")
    assert "none of this node's 1 keys fits" in error_of(lambda: node.pull(name), KINDS.FAILED_PRECONDITION)

    # The keys are read for each pull: no restart is needed.
    os.rename(tmp_path / "other.pem", keys / "other.pem")
    node.pull(name)
    node.pull(node.image)
