"""Whose name and password go to which registry."""
import base64
import hashlib
import json
import os

import pytest
from kit import hostile
from kit.hostile import HostileRegistry
from kit.nginx import Authority, Nginx
from kit.registry import Registry
from kit.token_server import TokenServer
from support import FAILS, KINDS, error_of, small

pytestmark = pytest.mark.usefixtures("no_images_left")

USER, PASSWORD, REFRESH = "joe", "se:cret", "refresh-me"
LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
BASIC = f"Basic {LOGIN}"
SECRETS = [PASSWORD, LOGIN, REFRESH]


def write_auth(node, content, name="auth.json"):
    path = f"{node.daemon.root}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def auth(node):
    """Writes the shared daemon's auth file, which goes after the test."""
    yield lambda content: write_auth(node, content)
    if os.path.exists(f"{node.daemon.root}/auth.json"):
        os.unlink(f"{node.daemon.root}/auth.json")


@pytest.fixture
def no_secrets(node):
    """No secret gets into the log."""
    yield
    text = node.daemon.log_text()
    assert not [secret for secret in SECRETS if secret in text]


@pytest.fixture(scope="module")
def token_server(workdir):
    with TokenServer(f"{workdir}/token", {USER: PASSWORD}, [REFRESH]) as server:
        yield server


@pytest.fixture(scope="module")
def token_registry(workdir, token_server):
    with Registry(f"{workdir}/token-registry", config=token_server.registry_config()) as registry:
        yield registry


@pytest.fixture
def private(token_server, token_registry):
    """An image behind a token server."""
    token_server.asked.clear()
    token_server.redirect, token_server.post, token_server.expires_in = None, True, 300
    granted = token_server.token(["repository:private/image:x"], ["pull", "push"])
    return token_registry.push("private/image", "1", small(), granted)


# ---- a registry with a token server ----

REQUESTS = {
    "username": {"username": USER, "password": PASSWORD},
    "auth": {"auth": LOGIN},
    "identity_token": {"identity_token": REFRESH},
    "identity_token_as_password": {"username": "<token>", "password": REFRESH},
}


@pytest.mark.parametrize("form", REQUESTS)
def test_each_form_of_a_request(node, private, token_server, no_secrets, form):
    error_of(lambda: node.pull(private), KINDS.UNAUTHENTICATED)
    token_server.asked.clear()
    node.pull(private, auth=REQUESTS[form])
    # One token serves the manifest and all blobs.
    (method, asked, authorization), = token_server.asked
    assert method == ("POST" if "identity" in form else "GET")
    assert asked["scope"] == ["repository:private/image:pull"]
    assert authorization == (None if "identity" in form else BASIC)


def test_a_registry_token_in_a_request(node, private, token_server):
    node.pull(private, auth={"registry_token": token_server.token(["repository:private/image:pull"])})
    assert not token_server.asked


def test_an_identity_token_where_nobody_knows_post(node, private, token_server, no_secrets):
    token_server.post = False
    node.pull(private, auth={"identity_token": REFRESH})
    assert [method for method, _, _ in token_server.asked] == ["POST", "GET"]


def test_a_wrong_identity_token(node, private, no_secrets):
    message = error_of(lambda: node.pull(private, auth={"identity_token": "wrong-" + REFRESH}), KINDS.UNAUTHENTICATED)
    assert "token server" in message and REFRESH not in message


def test_a_token_server_that_sends_elsewhere_gets_no_followers(node, private, token_server, bad, no_secrets):
    token_server.redirect = f"http://{bad.host}/token"
    error_of(lambda: node.pull(private, auth=REQUESTS["username"]), *FAILS)
    assert bad.shown and set(bad.shown) == {None}
    bad.shown.clear()
    error_of(lambda: node.pull(private, auth=REQUESTS["identity_token"]), *FAILS)
    assert not bad.shown


GUARD = """
add_header WWW-Authenticate 'Bearer realm="https://{realm}:$server_port/token"' always;
location /token {{ default_type application/json; return 200 '{{"token": "t"}}'; }}
location /v2/ {{
    if ($http_authorization != "Bearer t") {{ return 401; }}
    proxy_pass http://{upstream};
    proxy_set_header Authorization '';
}}
"""


@pytest.mark.parametrize("realm, trusted", [("127.0.0.1", True), ("localhost", False)])
def test_any_certificate_does_for_the_registry_alone(node, bad, tmp_path, realm, trusted):
    """Insecure says a registry: not the token server that it names on another host."""
    bad.put("a/b", "1", small())
    conf, folder = f"{node.daemon.root}/registries.conf", str(tmp_path)
    certificate = Authority(f"{folder}/authority").issue("server")
    with Nginx(f"{folder}/nginx", rules=GUARD.format(realm=realm, upstream=bad.host), certificate=certificate) as server:
        with open(conf, "w") as file:
            file.write(f'[[registry]]\nlocation = "{server.host}"\ninsecure = true\n')
        try:
            def pull():
                return node.pull(f"{server.host}/a/b:1", auth=REQUESTS["username"])
            if trusted:
                pull()
            else:
                assert "token server localhost" in error_of(pull, *FAILS)
        finally:
            os.unlink(conf)
        assert (BASIC in [seen["authorization"] for seen in server.see()]) == trusted


# ---- files ----

ENTRIES = {
    "auth": {"auth": LOGIN},
    "username": {"username": USER, "password": PASSWORD},
    "identitytoken": {"auth": base64.b64encode(b"00000000-0000:").decode(), "identitytoken": REFRESH},
}


@pytest.mark.parametrize("key", ["{}", "{}/private", "{}/private/image", "https://{}/v1/", "http://{}", "{}/v2/"])
@pytest.mark.parametrize("form", ENTRIES)
def test_each_form_of_a_file(node, auth, private, token_registry, no_secrets, key, form):
    auth({"auths": {key.format(token_registry.host): ENTRIES[form]}})
    node.pull(private)


def test_a_registry_token_in_a_file(node, auth, private, token_server, token_registry):
    token = token_server.token(["repository:private/image:pull"])
    auth({"auths": {token_registry.host: {"registrytoken": token}}})
    node.pull(private)


def test_the_longest_path_wins(node, auth, private, token_registry):
    wrong, right = {"username": USER, "password": "wrong"}, ENTRIES["auth"]
    host = token_registry.host
    auth({"auths": {host: wrong, f"{host}/private/image": right, f"{host}/private": wrong, f"{host}/private/image2": wrong}})
    node.pull(private)
    auth({"auths": {host: right, f"{host}/private": wrong}})
    error_of(lambda: node.pull(private), KINDS.UNAUTHENTICATED)


def test_a_request_goes_before_a_file(node, auth, private, token_registry):
    auth({"auths": {token_registry.host: {"username": USER, "password": "wrong"}}})
    node.pull(private, auth=REQUESTS["username"])
    # An address of somebody else's leaves it to the file.
    error_of(lambda: node.pull(private, auth={**REQUESTS["username"], "server_address": "other.example"}), KINDS.UNAUTHENTICATED)
    node.pull(private, auth={**REQUESTS["username"], "server_address": f"http://{token_registry.host}/v2/"})


def test_a_broken_file_fails_only_who_needs_it(node, auth, private, busybox, no_secrets):
    path = auth('{"auths": {"registry.example": {"auth": "%s}}}' % LOGIN)
    node.pull(busybox)
    message = error_of(lambda: node.pull(private), KINDS.UNAUTHENTICATED)
    assert path in message and "line 1" in message and LOGIN not in message
    auth({"auths": {"x": 7}})
    assert 'auths: "x": expected an object' in error_of(lambda: node.pull(private), KINDS.UNAUTHENTICATED)


# ---- a file for a namespace ----

def namespaced(node, namespace, name, content):
    repository = name.rsplit(":", 1)[0]
    return write_auth(node, content, f"auth/{namespace}-{hashlib.sha256(repository.encode()).hexdigest()}.json")


def test_a_namespaced_file_is_used_once(node, auth, private, token_registry, no_secrets):
    def pull(namespace):
        return node.pull(private, sandbox_config={"metadata": {"name": "a", "uid": "b", "namespace": namespace}})

    path = namespaced(node, "team", private, {"auths": {token_registry.host: ENTRIES["auth"]}})
    error_of(lambda: node.pull(private), KINDS.UNAUTHENTICATED)
    error_of(lambda: pull("other"), KINDS.UNAUTHENTICATED)
    assert os.path.exists(path)
    pull("team")
    assert not os.path.exists(path)
    assert not os.listdir(f"{node.daemon.root}/auth/in-use")
    error_of(lambda: pull("team"), KINDS.UNAUTHENTICATED)
    # It stands in place of the node's file, also where it says nothing of the registry.
    auth({"auths": {token_registry.host: ENTRIES["auth"]}})
    namespaced(node, "team", private, {"auths": {"other.example": ENTRIES["auth"]}})
    error_of(lambda: pull("team"), KINDS.UNAUTHENTICATED)
    pull("team")


# ---- helpers ----

@pytest.fixture
def helped(own_daemon, busybox):
    """A daemon whose PATH has helpers: helped({"name": script})."""
    from support import Node

    def make(scripts, config=""):
        daemon = own_daemon(config={"images": config}, start=False)
        folder = f"{daemon.root}/bin"
        os.makedirs(folder)
        for name, script in scripts.items():
            with open(f"{folder}/docker-credential-{name}", "w") as file:
                file.write(f"#!/bin/sh\nread -r server\necho \"$1 $server\" >>{daemon.root}/helped\n{script}\n")
            os.chmod(file.name, 0o755)
        daemon.start(env={"PATH": f"{folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
        return Node(daemon, busybox)

    return make


def answer(username, secret):
    return f"echo '{json.dumps({'ServerURL': 'x', 'Username': username, 'Secret': secret})}'"


def test_helpers(helped, private, token_registry):
    node = helped({
        "login": answer(USER, PASSWORD), "ident": answer("<token>", REFRESH), "rubbish": f"echo {PASSWORD}",
        "fails": "echo the vault is sealed; exit 3", "nothing": "echo credentials not found in native keychain; exit 1",
        "hangs": "sleep 1000", "floods": "exec cat /dev/zero",
    }, config="credential_helper_timeout = 2\n")
    host = token_registry.host
    write_auth(node, {"credHelpers": {host: "login"}, "auths": {host: {"username": USER, "password": "wrong"}}})
    node.pull(private)
    with open(f"{node.daemon.root}/helped") as file:
        assert file.read() == f"get {host}\n"
    write_auth(node, {"credsStore": "ident", "auths": {host: {}}})
    node.pull(private)
    with open(f"{node.daemon.root}/helped") as file:
        assert file.read() == 2 * f"get {host}\n"

    for name, said in [("rubbish", "its answer is not"), ("fails", "exit status 3: the vault is sealed"), ("hangs", "deadline"),
                       ("floods", "docker-credential-floods get"), ("absent", "not in the daemon's PATH")]:
        write_auth(node, {"credHelpers": {host: name}})
        message = error_of(lambda: node.pull(private), KINDS.UNAUTHENTICATED)
        assert said in message and f"docker-credential-{name}" in message and PASSWORD not in message
    write_auth(node, {"credHelpers": {host: "nothing"}})
    assert "credentials:" not in error_of(lambda: node.pull(private), KINDS.UNAUTHENTICATED)
    text = node.daemon.log_text()
    assert not [secret for secret in SECRETS if secret in text]


def test_helpers_of_registries_conf(helped, private, token_registry):
    node = helped({"login": answer(USER, PASSWORD), "nothing": "echo credentials not found in native keychain; exit 1"})
    host = token_registry.host
    write_auth(node, {"auths": {host: {"username": USER, "password": "wrong"}}})

    def list_helpers(*names):
        with open(f"{node.daemon.root}/registries.conf", "w") as file:
            file.write(f"credential-helpers = {json.dumps(names)}\n")

    # The list says whether the auth files count, and when.
    list_helpers("nothing", "login", "containers-auth.json")
    node.pull(private)
    with open(f"{node.daemon.root}/helped") as file:
        assert file.read() == f"get {host}\nget {host}\n"
    list_helpers("containers-auth.json", "login")
    error_of(lambda: node.pull(private), KINDS.UNAUTHENTICATED)
    list_helpers("login")
    node.pull(private)


# ---- what others see ----

def test_a_mirror_gets_its_own_credentials_alone(node, auth, bad, no_secrets):
    """The registry behind it has others, and a mirror that has none gets none."""
    with HostileRegistry() as mirror, HostileRegistry() as second:
        name = bad.put("a/b", "1", small())
        other = base64.b64encode(b"mirror:own").decode()
        bad.rule = hostile.basic_auth(USER, PASSWORD)
        mirror.rule = hostile.on("", hostile.status(401, {"WWW-Authenticate": 'Basic realm="x"'}))
        second.rule = hostile.on("", hostile.status(401, {"WWW-Authenticate": 'Basic realm="x"'}))
        auth({"auths": {f"{mirror.host}/cache": {"auth": other}, f"{mirror.host}/elsewhere": ENTRIES["auth"]}})
        conf = f"{node.daemon.root}/registries.conf"
        with open(conf, "w") as file:
            file.write(f'[[registry]]\nlocation = "{bad.host}"\n'
                       f'[[registry.mirror]]\nlocation = "{mirror.host}/cache"\ninsecure = true\n'
                       f'[[registry.mirror]]\nlocation = "{second.host}"\ninsecure = true\n')
        try:
            node.pull(name, auth=REQUESTS["username"])
        finally:
            os.unlink(conf)
        assert set(mirror.shown) == {None, f"Basic {other}"}
        assert second.shown and set(second.shown) == {None}
        assert BASIC in bad.shown


def test_a_redirect_takes_no_credentials_along(node, auth, bad, no_secrets):
    with HostileRegistry() as other:
        name = bad.put("a/b", "1", small())
        other.blobs = bad.blobs

        def rule(request):
            if basic(request):
                return True
            if "/blobs/" in request.path:
                hostile.send(request, 307, b"", {"Location": f"http://{other.host}{request.path}"})
                return True
            return False

        basic = hostile.basic_auth(USER, PASSWORD)
        bad.rule = rule
        auth({"auths": {bad.host: ENTRIES["auth"]}})
        node.pull(name)
        assert BASIC in bad.shown
        assert other.shown and set(other.shown) == {None}


def test_where_a_redirect_leads_names_no_token_server(node, auth, bad, no_secrets):
    with HostileRegistry() as other:
        name = bad.put("a/b", "1", small())
        basic = hostile.basic_auth(USER, PASSWORD)
        bad.rule = lambda request: basic(request) or sent_on(request)
        sent_on = hostile.on("/blobs/", lambda request: hostile.send(
            request, 307, b"", {"Location": f"http://{other.host}{request.path}"}))
        other.rule = hostile.on("", hostile.status(401, {"WWW-Authenticate": f'Bearer realm="http://{other.host}/token"'}))
        auth({"auths": {bad.host: ENTRIES["auth"]}})
        message = error_of(lambda: node.pull(name), KINDS.UNAUTHENTICATED)
        assert "401 Unauthorized: UNKNOWN: unknown (from where it redirects to)" in message
        assert BASIC in bad.shown
        assert not other.seen("/token") and set(other.shown) == {None}


def test_another_registry_gets_nothing(node, auth, bad, no_secrets):
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.basic_auth("somebody", "else")
    auth({"auths": {"127.0.0.1": ENTRIES["auth"], "127.0.0.1:1": ENTRIES["auth"], f"{bad.host}/a/c": ENTRIES["auth"],
                    f"{bad.host}0": ENTRIES["auth"]}})
    message = error_of(lambda: node.pull(name), KINDS.UNAUTHENTICATED)
    assert "none were given" in message
    error_of(lambda: node.pull(name, auth={**REQUESTS["username"], "server_address": "127.0.0.1:1"}), KINDS.UNAUTHENTICATED)
    assert set(bad.shown) == {None}
