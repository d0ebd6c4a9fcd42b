"""What may be pulled and run: policy.json, simple signing and sigstore, as others' tools make the signatures."""
import base64
import contextlib
import http.server
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import threading

import pytest
from kit.image import Blob, Image, Index, Layer, digest
from kit.nginx import Authority
from kit.paths import program
from kit.registry import push
from support import KINDS, error_of, small

pytestmark = pytest.mark.usefixtures("no_images_left")

WORD = "SignatureValidationFailed"
ANYTHING = [{"type": "insecureAcceptAnything"}]
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"


def run(*words, **more):
    return subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **more).stdout


# ---- what the node is told ----


class Policy:
    """The policy and the registries.d of a daemon; all of it is read for each use."""

    def __init__(self, root):
        self.root = root

    def file(self, name, text):
        path = f"{self.root}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text if isinstance(text, str) else json.dumps(text))

    def set(self, scopes, default=ANYTHING, name="policy.json"):
        self.file(name, {"default": default, "transports": {"docker": scopes}})

    def lookaside(self, url, **more):
        lines = [f"    {key}: {value}" for key, value in {"lookaside": url, **more}.items() if value is not None]
        self.file("registries.d/test.yaml", "default-docker:\n" + "\n".join(lines) + "\n")

    def clear(self):
        for name in ("policy.json", "policies", "registries.d"):
            shutil.rmtree(f"{self.root}/{name}", ignore_errors=True)
            if os.path.exists(f"{self.root}/{name}"):
                os.unlink(f"{self.root}/{name}")


@pytest.fixture
def policy(node):
    policy = Policy(node.daemon.root)
    yield policy
    policy.clear()


def refused(call):
    message = error_of(call, KINDS.UNKNOWN)
    assert message.startswith(WORD), message
    return message


# ---- OpenPGP ----


class Gpg:
    """A keyring of its own. A context manager."""

    def __enter__(self):
        self.home = tempfile.mkdtemp(prefix="crt-gpg-", dir="/tmp")
        return self

    def __exit__(self, *_):
        run(program("gpgconf"), "--homedir", self.home, "--kill", "all")
        shutil.rmtree(self.home, ignore_errors=True)

    def gpg(self, *words, **more):
        return run(program("gpg"), "--homedir", self.home, "--batch", "--pinentry-mode", "loopback", "--passphrase", "", *words,
                   stderr=subprocess.DEVNULL, **more)

    def key(self, name, expire="never", more=()):
        """Makes a key and gives its fingerprint and the path of its public half."""
        self.gpg(*more, "--quick-generate-key", f"{name} <{name}@example.org>", "ed25519", "sign", expire)
        lines = self.gpg("--with-colons", "--list-keys", f"{name}@example.org").decode().splitlines()
        fingerprint = [line.split(":")[9] for line in lines if line.startswith("fpr:")][0]
        path = f"{self.home}/{name}.pub"
        with open(path, "wb") as file:
            file.write(self.gpg("--export", fingerprint))
        return fingerprint, path

    def sign(self, fingerprint, text, more=()):
        """The bytes of a signed message."""
        path = f"{self.home}/text"
        with open(path, "w") as file:
            file.write(text)
        return self.gpg(*more, "--local-user", fingerprint, "--output", "-", "--sign", path)


@pytest.fixture(scope="module")
def gpg():
    with Gpg() as gpg:
        gpg.ours, gpg.public = gpg.key("ours")
        gpg.theirs, gpg.their_public = gpg.key("theirs")
        yield gpg


def simple(image_digest, name, kind="atomic container signature"):
    return json.dumps({"critical": {"type": kind, "image": {"docker-manifest-digest": image_digest},
                                    "identity": {"docker-reference": name}}, "optional": {}})


class Lookaside:
    def __init__(self, folder):
        self.folder = str(folder)

    def put(self, repository, image_digest, signature, number=1):
        folder = f"{self.folder}/{repository}@{image_digest.replace(':', '=')}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/signature-{number}", "wb") as file:
            file.write(signature)


@pytest.fixture
def lookaside(tmp_path, policy):
    (tmp_path / "lookaside").mkdir()
    policy.lookaside(f"file://{tmp_path}/lookaside")
    return Lookaside(tmp_path / "lookaside")


def signed_by(path, **more):
    return [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": path, **more}]


@pytest.fixture
def signed(registry, gpg, lookaside):
    """Pushes a new image, signed with a key under a name: signed(tag) gives its name and the image."""
    def make(tag, key=None, name=None, image=None, number=1):
        built = image or small(f"file-{tag}")
        there = registry.push("trust/app", tag, built)
        lookaside.put("trust/app", built.digest, gpg.sign(key or gpg.ours, simple(built.digest, name or there)), number)
        return there, built
    return make


# ---- simple signing ----


def test_a_signed_image_is_pulled_and_runs(node, registry, policy, gpg, lookaside, image):
    name = image("trusted")
    policy.set({f"{registry.host}": signed_by(gpg.public)})
    refused(lambda: node.pull(name))
    folder = lookaside.folder
    policy.file("staging/test.yaml", f"default-docker:\n    lookaside: file://{folder}\n")
    # As somebody who publishes images does it.
    copy = name.rsplit(":", 1)[0] + ":signed"
    run(program("skopeo"), "--registries.d", f"{policy.root}/staging", "--insecure-policy", "copy", "--src-tls-verify=false",
        "--dest-tls-verify=false", "--sign-by", gpg.ours, f"docker://{name}", f"docker://{copy}",
        env={**os.environ, "GNUPGHOME": gpg.home})
    node.pull(copy)
    assert node.output(node.pod(), "echo trusted", image=copy) == "trusted\n"
    # Its digest is signed, its other name is not.
    refused(lambda: node.pull(name))


def test_an_image_that_nobody_signed_is_refused_and_nothing_of_it_fetched(node, bad, policy, gpg, lookaside):
    built = small("unsigned")
    name = bad.put("trust/app", "1", built)
    policy.set({bad.host: signed_by(gpg.public)})
    message = refused(lambda: node.pull(name))
    assert "a signature is needed and there is none" in message and name in message
    assert f"{lookaside.folder}/trust/app" in message and "attachments are not looked for" in message
    assert not bad.seen("/blobs/")
    assert node.image_status(name) is None


def test_a_signature_by_another_key_is_refused(node, registry, policy, gpg, signed):
    name, _ = signed("other-key", gpg.theirs)
    policy.set({registry.host: signed_by(gpg.public)})
    assert gpg.theirs[-16:] in refused(lambda: node.pull(name))


def test_one_good_signature_among_bad_ones_is_enough(node, registry, policy, gpg, signed, lookaside):
    built = small("several")
    signed("several", gpg.theirs, image=built)
    lookaside.put("trust/app", built.digest, b"no signature at all", 2)
    name, _ = signed("several", image=built, number=3)
    policy.set({registry.host: signed_by(gpg.public)})
    node.pull(name)


def test_all_requirements_of_a_scope_must_be_met(node, registry, policy, gpg, signed):
    built = small("both")
    name, _ = signed("both", image=built)
    policy.set({registry.host: signed_by(gpg.public) + signed_by(gpg.their_public)})
    assert "requirement 2 of 2" in refused(lambda: node.pull(name))
    signed("both", gpg.theirs, image=built, number=2)
    node.pull(name)


def test_a_signature_for_another_name_is_refused(node, registry, policy, gpg, signed):
    name, _ = signed("name", name="example.org/other/app:1")
    policy.set({registry.host: signed_by(gpg.public)})
    assert "example.org/other/app:1" in refused(lambda: node.pull(name))
    identity = {"type": "exactRepository", "dockerRepository": "example.org/other/app"}
    policy.set({registry.host: signed_by(gpg.public, signedIdentity=identity)})
    node.pull(name)


def test_a_tag_that_moved_to_another_image_is_refused(node, registry, policy, gpg, signed, lookaside):
    name, old = signed("moved")
    new = small("moved-there")
    registry.push("trust/app", "moved", new)
    # The old image's signature is put where the new one's would be.
    lookaside.put("trust/app", new.digest, gpg.sign(gpg.ours, simple(old.digest, name)))
    policy.set({registry.host: signed_by(gpg.public)})
    assert old.digest in refused(lambda: node.pull(name))
    by_digest = f"{registry.host}/trust/app@{old.digest}"
    node.pull(by_digest)
    assert node.image_status(by_digest).id == old.id


@pytest.mark.parametrize("what", ["key", "signature"])
def test_what_has_expired_is_refused(node, registry, policy, gpg, lookaside, what):
    then = ["--faked-system-time", "20200101T000000"]
    fingerprint, public = gpg.key(f"old-{what}", "1d" if what == "key" else "never", then)
    built = small(f"expired-{what}")
    name = registry.push("trust/app", f"expired-{what}", built)
    later = [] if what == "key" else ["--default-sig-expire", "1d"]
    lookaside.put("trust/app", built.digest, gpg.sign(fingerprint, simple(built.digest, name), then + later))
    policy.set({registry.host: signed_by(public)})
    assert "expired" in refused(lambda: node.pull(name))


def test_a_revoked_key_is_refused(node, registry, policy, gpg, signed):
    fingerprint, public = gpg.key("revoked")
    name, _ = signed("revoked", fingerprint)
    with open(f"{gpg.home}/openpgp-revocs.d/{fingerprint}.rev") as file:
        text = file.read().replace(":-----BEGIN", "-----BEGIN")
    with open(f"{gpg.home}/revocation", "w") as file:
        file.write(text)
    gpg.gpg("--import", f"{gpg.home}/revocation")
    with open(public, "wb") as file:
        file.write(gpg.gpg("--export", fingerprint))
    policy.set({registry.host: signed_by(public)})
    assert "revoked" in refused(lambda: node.pull(name))


@contextlib.contextmanager
def web_server(folder, certificate=None):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words):
            super().__init__(*words, directory=folder)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_signatures_from_a_web_server(node, registry, policy, gpg, signed, lookaside):
    policy.set({registry.host: signed_by(gpg.public)})
    name, _ = signed("web")
    unsigned = registry.push("trust/app", "web-unsigned", small("web-unsigned"))
    with web_server(lookaside.folder) as url:
        policy.lookaside(url)
        refused(lambda: node.pull(unsigned))
        node.pull(name)


def test_signatures_from_a_web_server_by_tls(own_daemon, registry, gpg, signed, lookaside, tmp_path):
    """Whoever could put himself in its place could hold signatures back."""
    authority = Authority(f"{tmp_path}/authority")
    daemon = own_daemon(start=False)
    policy = Policy(daemon.root)
    policy.set({registry.host: signed_by(gpg.public)})
    name, _ = signed("tls")
    with web_server(lookaside.folder, authority.issue("server")) as url:
        policy.lookaside(url)
        daemon.start()
        message = error_of(lambda: daemon.client.PullImage(image={"image": name}), KINDS.FAILED_PRECONDITION)
        assert "certificate" in message and url in message
        daemon.terminate()
        daemon.start(env={"SSL_CERT_FILE": authority.file})
        assert daemon.client.PullImage(image={"image": name}).image_ref


def test_a_signed_index_and_a_signed_image_of_an_index(node, registry, policy, gpg, lookaside):
    policy.set({registry.host: signed_by(gpg.public)})
    for signed_part in ("index", "image"):
        built = small(f"index-{signed_part}")
        index = Index([built])
        name = registry.push("trust/app", signed_part, index)
        refused(lambda: node.pull(name))
        what = index.digest if signed_part == "index" else built.digest
        lookaside.put("trust/app", what, gpg.sign(gpg.ours, simple(what, name)))
        node.pull(name)


# ---- sigstore ----


def openssl(*words, **more):
    return run(program("openssl"), *words, **more)


def make_key(folder, name, *algorithm):
    private, public = f"{folder}/{name}.key", f"{folder}/{name}.pub"
    openssl("genpkey", *algorithm, "-out", private, stderr=subprocess.DEVNULL)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    return private, public


class Attachment:
    """sigstore's signatures of an image, as they lie in its repository."""

    def __init__(self, payload, annotations):
        blob = Blob(payload, SIMPLE_SIGNING)
        config = Blob(b'{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":["%s"]},"config":{}}' % digest(payload).encode(),
                      "application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config.descriptor(),
                    "layers": [blob.descriptor(annotations=annotations)]}
        self.top = Blob(json.dumps(manifest).encode(), manifest["mediaType"])
        self.blobs, self.manifests = [config, blob], [self.top]


def attach(registry, folder, private, built, name, raw=False):
    payload = simple(built.digest, name, "cosign container image signature").encode()
    with open(f"{folder}/payload", "wb") as file:
        file.write(payload)
    how = ["pkeyutl", "-sign", "-rawin", "-inkey", private, "-in"] if raw else ["dgst", "-sha256", "-sign", private]
    signature = openssl(*how, f"{folder}/payload")
    attachment = Attachment(payload, {"dev.cosignproject.cosign/signature": base64.b64encode(signature).decode()})
    push(registry.host, "trust/app", built.digest.replace(":", "-") + ".sig", attachment)


def sigstore_signed(path, **more):
    return [{"type": "sigstoreSigned", "keyPath": path, **more}]


@pytest.mark.parametrize("kind", [
    ("EC", "-pkeyopt", "ec_paramgen_curve:P-256"), ("EC", "-pkeyopt", "ec_paramgen_curve:P-384"), ("RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    ("ED25519",),
], ids=lambda kind: "-".join(kind).replace(":", "-"))
def test_a_sigstore_signature(node, registry, policy, tmp_path, kind):
    private, public = make_key(tmp_path, "ours", "-algorithm", *kind)
    _, other = make_key(tmp_path, "theirs", "-algorithm", *kind)
    built = small("sigstore-" + "-".join(kind).replace(":", "-"))
    tag = digest(repr(kind).encode())[7:20]
    name = registry.push("trust/app", tag, built)
    policy.set({registry.host: sigstore_signed(public)})
    policy.lookaside(None, **{"use-sigstore-attachments": "true"})
    assert "there is none" in refused(lambda: node.pull(name))
    attach(registry, tmp_path, private, built, name, raw=kind[0] == "ED25519")
    node.pull(name)
    policy.set({registry.host: sigstore_signed(other)})
    assert "not made by a key" in refused(lambda: node.pull(name))


def test_attachments_count_only_where_registries_d_says_so(node, registry, policy, tmp_path):
    private, public = make_key(tmp_path, "ours", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    built = small("attached")
    name = registry.push("trust/app", "attached", built)
    attach(registry, tmp_path, private, built, name)
    policy.set({registry.host: sigstore_signed(public)})
    refused(lambda: node.pull(name))
    policy.lookaside(None, **{"use-sigstore-attachments": "true"})
    node.pull(name)


def test_a_sigstore_signature_of_an_index(node, registry, policy, tmp_path):
    private, public = make_key(tmp_path, "ours", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    index = Index([small("sigstore-index")])
    name = registry.push("trust/app", "sigstore-index", index)
    policy.set({registry.host: sigstore_signed(public)})
    policy.lookaside(None, **{"use-sigstore-attachments": "true"})
    refused(lambda: node.pull(name))
    attach(registry, tmp_path, private, index, name)
    node.pull(name)


# ---- the policy itself ----


def test_what_the_policy_rejects_is_not_even_asked_for(node, bad, policy):
    name = bad.put("trust/app", "1", small("rejected"))
    policy.set({bad.host: [{"type": "reject"}]})
    message = refused(lambda: node.pull(name))
    assert "policy.json" in message and bad.host in message
    assert not bad.seen(".")


def test_the_most_specific_scope_counts(node, registry, policy):
    name = registry.push("trust/app", "scope", small("scope"))
    policy.set({registry.host: [{"type": "reject"}], f"{registry.host}/trust": ANYTHING}, default=[{"type": "reject"}])
    node.pull(name)
    policy.set({f"{registry.host}/trust": ANYTHING, f"{registry.host}/trust/app:scope": [{"type": "reject"}]})
    refused(lambda: node.pull(name))


@pytest.mark.parametrize("text, said", [
    ("{", "not valid JSON"),
    ({"default": [{"type": "insecureAcceptEverything"}]}, "insecureAcceptEverything"),
    ({"default": ANYTHING, "transport": {}}, "transport"),
    ({"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nowhere/key"}]}, "/nowhere/key"),
], ids=["json", "type", "member", "key"])
def test_a_broken_policy_lets_nothing_in(node, registry, policy, text, said):
    name = registry.push("trust/app", "broken", small("broken"))
    policy.file("policy.json", text)
    message = refused(lambda: node.pull(name))
    assert said in message and "policy.json" in message
    policy.clear()
    node.pull(name)


def test_a_broken_registries_d_lets_nothing_in(node, registry, policy, gpg):
    name = registry.push("trust/app", "broken-d", small("broken-d"))
    policy.set({registry.host: signed_by(gpg.public)})
    policy.file("registries.d/bad.yaml", "default-docker:\n    look-aside: https://example.org\n")
    message = refused(lambda: node.pull(name))
    assert "bad.yaml:2" in message and "look-aside" in message


def test_a_namespace_has_a_policy_of_its_own(node, registry, policy, image):
    name = image("spaces")
    policy.set({registry.host: [{"type": "reject"}]}, name="policies/strict.json")
    strict, loose = node.pod_config(namespace="strict"), node.pod_config(namespace="loose")
    refused(lambda: node.pull(name, sandbox_config=strict))
    node.pull(name, sandbox_config=loose)
    pod = node.pod(namespace="strict")
    assert "strict.json" in refused(lambda: node.create(pod, image=name))
    node.create(node.pod(namespace="loose"), image=name)


# ---- at the start of a container ----


def test_a_policy_that_became_stricter_after_the_pull_refuses_the_container(node, registry, policy, image, gpg):
    name = image("later")
    image_id = node.pull(name)
    pod = node.pod()
    node.create(pod, image=name, name="before")
    policy.set({registry.host: signed_by(gpg.public)})
    for asked in (name, image_id):
        message = refused(lambda: node.create(pod, image=asked, name="after"))
        assert "pull it again" in message
    policy.clear()
    node.create(pod, image=name, name="after")


def test_signatures_are_kept_so_that_a_container_needs_no_network(node, registry, policy, gpg, lookaside, layer):
    built = Image([layer], {"Labels": {"kept": "1"}})
    name = registry.push("trust/app", "kept", built)
    lookaside.put("trust/app", built.digest, gpg.sign(gpg.ours, simple(built.digest, name)))
    policy.set({registry.host: signed_by(gpg.public)})
    node.pull(name)
    shutil.rmtree(lookaside.folder)
    pod = node.pod()
    node.create(pod, image=name, name="good")
    # The same signature under another policy.
    policy.set({registry.host: signed_by(gpg.their_public)})
    assert gpg.ours[-16:] in refused(lambda: node.create(pod, image=name, name="bad"))
    # A key that is taken out of its file no longer counts.
    shutil.copy(gpg.public, f"{policy.root}/policies.key")
    policy.set({registry.host: signed_by(f"{policy.root}/policies.key")})
    node.create(pod, image=name, name="copied")
    shutil.copy(gpg.their_public, f"{policy.root}/policies.key")
    refused(lambda: node.create(pod, image=name, name="replaced"))


def test_kept_signatures_go_with_their_image(node, registry, policy, gpg, signed):
    name, built = signed("goes")
    policy.set({registry.host: signed_by(gpg.public)})
    node.pull(name)
    kept = f"{node.daemon.state}/images/signatures/{built.digest.split(':')[1]}"
    assert os.path.exists(kept)
    node.client.RemoveImage(image={"image": name})
    assert not os.path.exists(kept)


def test_containers_of_an_accepted_image_start_no_verification(node, registry, policy, gpg, lookaside, layer):
    built = Image([layer], {"Labels": {"again": "1"}})
    name = registry.push("trust/app", "again", built)
    lookaside.put("trust/app", built.digest, gpg.sign(gpg.ours, simple(built.digest, name)))
    policy.set({registry.host: signed_by(gpg.public)})
    node.pull(name)
    pod = node.pod()
    before = node.daemon.log_text().count("crisp-trust verifies")
    assert before
    node.create(pod, image=name, name="one")
    node.create(pod, image=name, name="two")
    assert node.daemon.log_text().count("crisp-trust verifies") == before
