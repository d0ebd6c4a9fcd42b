"""Registries that want a password, and registries that misbehave."""
import base64
import json
import os

import pytest
from kit import hostile
from kit.image import Image, Layer, digest
from kit.wait import wait_for
from support import FAILS, KINDS, error_of, small

pytestmark = pytest.mark.usefixtures("no_images_left")


# ---- passwords ----

AUTHS = [
    {"username": "joe", "password": "se:cret"},
    {"auth": base64.b64encode(b"joe:se:cret").decode()},
]


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("kind", ["basic", "token"])
def test_passwords(node, bad, kind, auth):
    built = small()
    name = bad.put("private/image", "1", built)
    bad.rule = hostile.basic_auth("joe", "se:cret") if kind == "basic" else hostile.token_auth(bad, "joe", "se:cret")
    message = error_of(lambda: node.pull(name), KINDS.UNAUTHENTICATED)
    assert bad.host in message
    error_of(lambda: node.pull(name, auth={"username": "joe", "password": "wrong"}), KINDS.UNAUTHENTICATED)
    assert node.image_status(name) is None
    node.pull(name, auth=auth)
    assert node.image_status(name).id == built.id
    for text in (node.daemon.log_text(), message):
        for secret in ("se:cret", base64.b64encode(b"joe:se:cret").decode()):
            assert secret not in text


def test_a_token_for_anybody(node, bad):
    name = bad.put("public/image", "1", small())
    bad.rule = hostile.token_auth(bad)
    node.pull(name)


def test_a_registry_token(node, bad):
    name = bad.put("private/image", "1", small())

    def rule(request):
        if request.headers.get("Authorization") == "Bearer given-token":
            return False
        hostile.send(request, 401, hostile.error("UNAUTHORIZED"), {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/none"'})
        return True

    bad.rule = rule
    node.pull(name, auth={"registry_token": "given-token"})


# ---- registries that misbehave ----

BLOB = r"GET /v2/.*/blobs/"
MANIFEST = r"(GET|HEAD) /v2/.*/manifests/"


def test_nobody_listens(node):
    message = error_of(lambda: node.pull("127.0.0.1:1/a/b:1"), KINDS.UNKNOWN)
    assert message.startswith("RegistryUnavailable")
    assert "127.0.0.1:1" in message


@pytest.mark.parametrize("code", [500, 502, 503])
def test_a_broken_registry(node, bad, code):
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on("", hostile.status(code))
    message = error_of(lambda: node.pull(name), KINDS.UNKNOWN)
    assert message.startswith("RegistryUnavailable")
    assert str(code) in message and bad.host in message


def test_an_image_that_is_not_there(node, bad):
    message = error_of(lambda: node.pull(f"{bad.host}/no/such:1"), KINDS.NOT_FOUND)
    assert "no/such" in message


def test_a_forbidden_image(node, bad):
    bad.rule = hostile.on("", hostile.status(403))
    error_of(lambda: node.pull(f"{bad.host}/a/b:1"), *FAILS)


@pytest.mark.parametrize("what", [BLOB, MANIFEST])
def test_too_many_requests_then_well(node, bad, what):
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on(what, hostile.status(429, {"Retry-After": "1"}), times=1)
    node.pull(name)


def test_too_many_requests_for_ever(node, bad):
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on(MANIFEST, hostile.status(429, {"Retry-After": "1"}))
    message = error_of(lambda: node.pull(name, deadline=300), *FAILS)
    assert message.startswith("RegistryUnavailable") and "429" in message


def test_layers_that_came_before_too_many_requests_stay(own_node, bad):
    node = own_node()
    image = Image([Layer().file("one", "1\n"), Layer().file("two", "2\n")])
    first, second = image.layers
    name = bad.put("a/b", "1", image)
    bad.rule = hostile.on(second.digest, hostile.status(429))
    # On a connection that was kept it is tried as often as on a new one.
    assert "5 tries: 429" in error_of(lambda: node.pull(name, deadline=300), *FAILS)
    assert bad.seen(f"GET .*{first.digest}") == 1
    bad.rule = None
    node.pull(name)
    assert bad.seen(f"GET .*{first.digest}") == 1


def test_a_broken_answer_then_well(node, bad):
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on(BLOB, hostile.status(503), times=1)
    node.pull(name)


def test_a_download_that_breaks_off_goes_on(node, bad):
    data = os.urandom(2 << 20)
    name = bad.put("a/b", "1", Image([Layer("tar").file("blob", data)]))
    bad.rule = hostile.on(BLOB, hostile.truncate(bad), times=2)
    node.pull(name)
    assert node.image_status(name)


def test_a_download_that_always_breaks_off(node, bad):
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on(BLOB, hostile.truncate(bad, keep=0.3))
    error_of(lambda: node.pull(name, deadline=300), *FAILS)
    assert node.image_status(name) is None


def test_a_lie_about_a_layer(node, bad):
    built = small()
    name = bad.put("a/b", "1", built)
    bad.rule = hostile.on(built.layers[0].digest, hostile.lie(bad))
    message = error_of(lambda: node.pull(name), *FAILS)
    assert "digest" in message
    assert node.image_status(name) is None


def test_a_lie_about_the_config(node, bad):
    built = small()
    name = bad.put("a/b", "1", built)
    bad.rule = hostile.on(built.config.digest, hostile.lie(bad))
    assert "digest" in error_of(lambda: node.pull(name), *FAILS)


def test_a_lie_about_a_manifest_pulled_by_digest(node, bad):
    built, other = small(), small("other")
    bad.put("a/b", "1", built)
    bad.put("a/b", "2", other)
    bad.manifests["a/b", built.digest] = other.manifest
    assert "digest" in error_of(lambda: node.pull(f"{bad.host}/a/b@{built.digest}"), *FAILS)


def test_a_lie_about_a_diff_id(node, bad):
    built = small(diff_ids=[digest(b"something else")])
    name = bad.put("a/b", "1", built)
    assert built.diff_ids[0] in error_of(lambda: node.pull(name), *FAILS)


def test_a_lie_about_a_size(node, bad):
    built = small()
    manifest = json.loads(built.manifest.data)
    manifest["layers"][0]["size"] += 7
    built.manifest = type(built.manifest)(json.dumps(manifest).encode(), built.manifest.media_type)
    name = bad.put("a/b", "1", built)
    error_of(lambda: node.pull(name), *FAILS)


def test_a_registry_that_hangs_holds_up_only_its_pull(own_node, bad):
    node = own_node(config={"images": "pull_stall_timeout = 3\n"})
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on(BLOB, hostile.hang(bad, after=10))
    call = node.client.start("PullImage", image={"image": name}, deadline=300)
    wait_for(lambda: bad.seen(BLOB), "the download to begin")
    assert node.client.Status().status.conditions
    node.run_pod()
    error_of(call.result, *FAILS)
    assert node.image_status(name) is None


@pytest.mark.parametrize("body", [
    b"", b"null", b"[]", b"{}", b"not json", b"{" * 100000, b"\xff\xfe", b'{"schemaVersion": 1}',
    b'{"schemaVersion": 2, "layers": [], "config": {"digest": "sha256:../../etc", "size": 1}}',
    b'{"schemaVersion": 2, "layers": 7, "config": 7}',
    b'{"schemaVersion": 2, "config": {"digest": "sha256:%s", "size": -1}, "layers": []}' % (b"0" * 64),
])
def test_rubbish_for_a_manifest(node, bad, body):
    headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    bad.rule = hostile.on(MANIFEST, hostile.status(200, headers, body))
    error_of(lambda: node.pull(f"{bad.host}/a/b:1"), *FAILS)


def test_a_manifest_without_end(node, bad):
    bad.rule = hostile.on(MANIFEST, hostile.endless(bad))
    error_of(lambda: node.pull(f"{bad.host}/a/b:1", deadline=300), *FAILS)


def test_an_index_that_names_itself_over_and_over(node, bad):
    def deeper(request):
        inner = {"mediaType": "application/vnd.oci.image.index.v1+json", "size": 100, "digest": "sha256:" + "1" * 64}
        body = json.dumps({"schemaVersion": 2, "mediaType": inner["mediaType"], "manifests": [inner]}).encode()
        hostile.send(request, 200, body, {"Content-Type": inner["mediaType"]})
    bad.rule = hostile.on(MANIFEST, deeper)
    error_of(lambda: node.pull(f"{bad.host}/a/b:1"), *FAILS)


def test_redirects_are_followed_but_not_for_ever(node, bad):
    name = bad.put("a/b", "1", small())

    def once(request):
        if request.command == "GET" and "/blobs/" in request.path and "?again" not in request.path:
            hostile.send(request, 307, b"", {"Location": f"http://{bad.host}{request.path}?again"})
            return True
        return False

    bad.rule = once
    node.pull(name)
    bad.rule = hostile.on("/v2/other/", lambda r: hostile.send(r, 302, b"", {"Location": f"http://{bad.host}{r.path}"}))
    error_of(lambda: node.pull(f"{bad.host}/other/b:1"), *FAILS)


def test_a_redirect_to_a_file_is_not_followed(node, bad):
    bad.rule = hostile.on("", lambda r: hostile.send(r, 302, b"", {"Location": "file:///etc/passwd"}))
    error_of(lambda: node.pull(f"{bad.host}/a/b:1"), *FAILS)
