"""registries.conf, hosts.toml and folders of certificates: where images come from, and what is shown to whom."""
import os
import shutil
import subprocess
import urllib.parse

import pytest
from kit.nginx import Authority, Nginx
from kit.paths import program
from kit.registry import free_port
from kit.wait import wait_for
from support import FAILS, KINDS, error_of, small

pytestmark = pytest.mark.usefixtures("no_images_left")


def write(path, text):
    """Replaces the file as a whole, as an installer of packages does."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w") as file:
        file.write(text)
    os.rename(f"{path}.new", path)


@pytest.fixture
def files(node):
    """Writes files of the shared daemon's configuration of registries, which go after the test."""
    root = node.daemon.root
    yield lambda name, text: write(f"{root}/{name}", text)
    for name in ("registries.conf.d", "hosts", "certs"):
        shutil.rmtree(f"{root}/{name}", ignore_errors=True)
    if os.path.exists(f"{root}/registries.conf"):
        os.unlink(f"{root}/registries.conf")


@pytest.fixture
def conf(files):
    return lambda text: files("registries.conf", text)


@pytest.fixture(scope="module")
def authority(workdir):
    return Authority(f"{workdir}/authority")


@pytest.fixture
def nginx(tmp_path, registry):
    """Makes servers in front of the registry: nginx(rules=..., certificate=...)."""
    made = []

    def make(upstream=registry.host, **more):
        made.append(Nginx(f"{tmp_path}/nginx{len(made)}", upstream, **more).__enter__())
        return made[-1]

    yield make
    for server in made:
        server.__exit__()


@pytest.fixture
def app(registry):
    """Its repository:tag, and the image."""
    image = small("app")
    registry.push("test/app", "1", image)
    return image


def dead():
    """The host of a registry that is not there."""
    return f"127.0.0.1:{free_port()}"


def read(path):
    with open(path) as file:
        return file.read()


def in_order(message, *parts):
    at = 0
    for part in parts:
        found = message.find(part, at)
        assert found >= 0, f"{part!r} is not in {message[at:]!r}"
        at = found + len(part)
    return True


# ---- registries.conf: mirrors ----

def test_a_mirror_serves_where_the_registry_is_dead(node, app, nginx, conf):
    mirror, host = nginx(), dead()
    conf(f'[[registry]]\nlocation = "{host}"\n[[registry.mirror]]\nlocation = "{mirror.host}"\n')
    assert node.pull(f"{host}/test/app:1") == app.id
    # It has the name that was asked for.
    assert node.image_status(app.id).repo_tags == [f"{host}/test/app:1"]
    seen = mirror.see()
    assert seen and {r["status"] for r in seen} == {200}
    with open(os.path.join(os.path.dirname(__file__), "../../VERSION")) as file:
        assert {r["agent"] for r in seen} == {f"crisp/{file.read().strip()}"}


def test_the_registry_serves_where_mirrors_do_not(node, app, nginx, conf, registry):
    failing, empty = nginx(upstream=None, rules="location /v2/ { return 403; }"), nginx(upstream=None)
    conf(f'[[registry]]\nlocation = "{registry.host}"\n' + "".join(
        f'[[registry.mirror]]\nlocation = "{host}"\n' for host in (dead(), failing.host, empty.host)))
    assert node.pull(f"{registry.host}/test/app:1") == app.id
    assert [r["status"] for r in failing.see()] == [403]
    assert [r["status"] for r in empty.see()] == [404]


def test_every_endpoint_is_told_in_order(node, nginx, conf):
    failing, empty, host = nginx(upstream=None, rules="location /v2/ { return 403; }"), nginx(upstream=None), dead()
    conf(f'[[registry]]\nlocation = "{host}"\n[[registry.mirror]]\nlocation = "{empty.host}/cache"\n'
         f'[[registry.mirror]]\nlocation = "{failing.host}"\n')
    message = error_of(lambda: node.pull(f"{host}/test/app:1"), *FAILS)
    in_order(message, f"{host}/test/app:1", f"{empty.host}: 404 Not Found", f"{failing.host}: 403 Forbidden", f"{host}: ")
    assert [r["path"] for r in empty.see()] == ["/v2/cache/test/app/manifests/1"]


def test_a_location_is_asked_in_the_place_of_a_prefix(node, registry, nginx, conf):
    image = small("moved")
    registry.push("moved/there/app", "1", image)
    server = nginx()
    conf('[[registry]]\nprefix = "registry.example/team"\n' f'location = "{server.host}/moved/there"\n')
    assert node.pull("registry.example/team/app:1") == image.id
    assert node.image_status("registry.example/team/app:1").id == image.id
    assert "/v2/moved/there/app/manifests/1" in [r["path"] for r in server.see()]


def test_a_blocked_registry_is_not_asked(node, app, nginx, conf):
    server = nginx()
    conf(f'[[registry]]\nlocation = "{server.host}"\n[[registry]]\nprefix = "{server.host}/test"\nblocked = true\n')
    message = error_of(lambda: node.pull(f"{server.host}/test/app:1"), KINDS.PERMISSION_DENIED)
    assert "is blocked by" in message and "registries.conf:3" in message
    assert server.see() == []


def test_a_mirror_for_digests_is_not_asked_for_tags(node, app, nginx, conf):
    mirror, itself = nginx(), nginx()
    conf(f'[[registry]]\nlocation = "{itself.host}"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "{mirror.host}"\n')
    assert node.pull(f"{itself.host}/test/app:1") == app.id
    assert mirror.see() == [] and itself.see()
    node.client.RemoveImage(image={"image": app.id})
    asked = len(itself.see())
    assert node.pull(f"{itself.host}/test/app@{app.top.digest}") == app.id
    assert mirror.see() and len(itself.see()) == asked


def test_drop_ins_count_after_the_file(node, app, nginx, conf, files):
    server = nginx()
    conf('[[registry]]\nprefix = "registry.example"\nblocked = true\n')
    error_of(lambda: node.pull("registry.example/test/app:1"), KINDS.PERMISSION_DENIED)
    files("registries.conf.d/50-mirror.conf", f'[[registry]]\nprefix = "registry.example"\nlocation = "{server.host}"\n')
    assert node.pull("registry.example/test/app:1") == app.id


def test_a_changed_file_counts_at_the_next_pull(node, app, nginx, conf):
    first, second = nginx(), nginx()
    conf(f'[[registry]]\nprefix = "registry.example"\nlocation = "{first.host}"\n')
    assert node.pull("registry.example/test/app:1") == app.id
    assert second.see() == []
    node.client.RemoveImage(image={"image": app.id})
    conf(f'[[registry]]\nprefix = "registry.example"\nlocation = "{second.host}"\n')
    asked = len(first.see())
    assert node.pull("registry.example/test/app:1") == app.id
    assert second.see() and len(first.see()) == asked

    # What was good before is not used in the place of what is wrong now.
    conf("[[registry]]\nlocation = 1\n")
    for _ in range(2):
        message = error_of(lambda: node.pull("registry.example/test/app:1"), KINDS.INVALID_ARGUMENT)
        assert "registries.conf:2: " in message
    conf('[registries.search]\nregistries = ["docker.io"]\n')
    assert "version 1" in error_of(lambda: node.pull("registry.example/test/app:1"), KINDS.INVALID_ARGUMENT)


# ---- TLS ----

def test_insecure_takes_any_certificate_and_none(node, app, nginx, conf, registry, authority):
    server = nginx(certificate=authority.issue("server"))
    for location in (server.host, registry.host):
        conf(f'[[registry]]\nprefix = "registry.example"\nlocation = "{location}"\ninsecure = true\n')
        assert node.pull("registry.example/test/app:1") == app.id
        node.client.RemoveImage(image={"image": app.id})
    assert server.see()
    message = error_of(lambda: node.pull("registry.example/test/no-such:1"), KINDS.NOT_FOUND)
    in_order(message, f"{registry.host}: it does not speak https; http://{registry.host}: 404 Not Found")


def test_an_authority_of_our_own(node, app, nginx, conf, files, authority):
    server = nginx(certificate=authority.issue("server"))
    files(f"hosts/{server.host}/hosts.toml", f'server = "{server.url}"\n')
    message = error_of(lambda: node.pull(f"{server.host}/test/app:1"), *FAILS)
    assert f"{server.host}: its certificate cannot be trusted" in message

    files(f"certs/{server.host}/ca.crt", "")
    message = error_of(lambda: node.pull(f"{server.host}/test/app:1"), *FAILS)
    assert "there is no certificate in it" in message and "ca.crt" in message
    files(f"certs/{server.host}/ca.crt", read(authority.file))
    assert node.pull(f"{server.host}/test/app:1") == app.id


@pytest.mark.parametrize("where", ["certs", "hosts"])
def test_folders_of_certificates(node, app, nginx, files, authority, where):
    server = nginx(certificate=authority.issue("server"))
    error_of(lambda: node.pull(f"{server.host}/test/app:1"), *FAILS)  # plain http, as it is on loopback
    files(f"{where}/{server.host}/own.crt", read(authority.file))
    assert node.pull(f"{server.host}/test/app:1") == app.id


def test_a_registry_that_demands_a_client_certificate(node, app, nginx, files, authority):
    server = nginx(certificate=authority.issue("server"), clients=authority.file)
    folder, (certificate, key) = f"certs/{server.host}", authority.issue("the-node")
    files(f"{folder}/ca.crt", read(authority.file))
    message = error_of(lambda: node.pull(f"{server.host}/test/app:1"), *FAILS)
    assert f"{server.host}: 400" in message
    files(f"{folder}/client.cert", read(certificate))
    message = error_of(lambda: node.pull(f"{server.host}/test/app:1"), KINDS.FAILED_PRECONDITION)
    assert f"{folder}/client.key is missing" in message
    files(f"{folder}/client.key", "no key\n")
    message = error_of(lambda: node.pull(f"{server.host}/test/app:1"), KINDS.FAILED_PRECONDITION)
    assert f"{folder}/client.key: there is no key in it" in message
    locked = subprocess.run([program("openssl"), "pkey", "-aes256", "-passout", "pass:x", "-in", key], check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    files(f"{folder}/client.key", locked.stdout)
    message = error_of(lambda: node.pull(f"{server.host}/test/app:1"), KINDS.FAILED_PRECONDITION)
    assert f"{folder}/client.key: the key in it has a passphrase" in message
    files(f"{folder}/client.key", read(authority.key))
    message = error_of(lambda: node.pull(f"{server.host}/test/app:1"), KINDS.FAILED_PRECONDITION)
    assert "our certificate for it cannot be used" in message
    files(f"{folder}/client.key", read(key))
    assert node.pull(f"{server.host}/test/app:1") == app.id
    assert {r["client"] for r in server.see() if r["status"] == 200} == {"CN=the-node"}


# ---- hosts.toml ----

def test_a_mirror_of_hosts_toml(node, app, nginx, files, authority):
    # Its path has no /v2: it is taken as it is.
    certificate, key = authority.issue("the-node")
    mirror = nginx(certificate=authority.issue("server"), clients=authority.file,
                   rules="location /images/ { rewrite ^/images/(.*)$ /v2/$1 last; }")
    host = dead()
    folder = "hosts/" + host.replace(":", "_") + "_"
    files(f"{folder}/ca.pem", read(authority.file))
    files(f"{folder}/hosts.toml",
          f'[host."{mirror.url}/images"]\noverride_path = true\nca = "ca.pem"\nclient = [["{certificate}", "{key}"]]\n'
          f'dial_timeout = "5s"\n[host."{mirror.url}/images".header]\nx-key = "open sesame"\n')
    assert node.pull(f"{host}/test/app:1") == app.id
    seen = mirror.see()
    assert {(r["key"], r["query"], r["client"]) for r in seen} == {("open sesame", f"ns={urllib.parse.quote(host)}", "CN=the-node")}
    assert "open sesame" not in node.daemon.log_text()


def test_a_header_is_not_told(node, nginx, files):
    server = nginx(upstream=None, rules="""location /v2/ {
        return 403 '{"errors": [{"code": "DENIED", "message": "who are you, $http_x_key?"}]}'; }""")
    files(f"hosts/{server.host}/hosts.toml", f'server = "{server.url}"\n[header]\nx-key = "Key open-sesame"\n')
    message = error_of(lambda: node.pull(f"{server.host}/test/app:1"), KINDS.PERMISSION_DENIED)
    assert "403 Forbidden" in message and "sesame" not in message
    assert "sesame" not in node.daemon.log_text()
    files(f"hosts/{server.host}/hosts.toml", f'server = "{server.url}"\n')
    assert "who are you, ?" in error_of(lambda: node.pull(f"{server.host}/test/app:1"), KINDS.PERMISSION_DENIED)


def test_a_host_that_may_not_resolve_is_asked_for_what_a_tag_stands_for(node, app, nginx, files):
    mirror, itself = nginx(), nginx()
    files("hosts/_default/hosts.toml", f'server = "{itself.url}"\n[host."{mirror.url}"]\ncapabilities = ["pull"]\n')
    assert node.pull("registry.example/test/app:1") == app.id
    assert [r["path"] for r in itself.see()] == ["/v2/test/app/manifests/1"]
    assert {r["path"].split("/")[4] for r in mirror.see()} == {"blobs"}


def test_registries_conf_wins_over_hosts_toml(node, app, nginx, conf, files):
    ours, theirs = nginx(), nginx()
    files("hosts/registry.example/hosts.toml", f'server = "{theirs.url}"\n')
    conf(f'[[registry]]\nprefix = "registry.example/test"\nlocation = "{ours.host}/test"\n')
    assert node.pull("registry.example/test/app:1") == app.id
    assert ours.see() and theirs.see() == []
    error_of(lambda: node.pull("registry.example/other/app:1"), KINDS.NOT_FOUND)
    assert theirs.see()


def test_a_redirect_takes_nothing_along(node, app, nginx, files, authority):
    certificate, key = authority.issue("the-node")
    elsewhere = nginx(certificate=authority.issue("server"))
    server = nginx(
        certificate=authority.issue("server"), clients=authority.file,
        rules="location ~ /manifests/ { if ($http_authorization = '') { add_header WWW-Authenticate 'Basic realm=x' always; return 401; }"
              f" proxy_pass http://{elsewhere.upstream}; proxy_set_header Authorization ''; }}\n"
              f"location ~ /blobs/ {{ return 307 {elsewhere.url}$request_uri; }}",
    )
    files(f"hosts/{server.host}/hosts.toml",
          f'server = "{server.url}"\nca = "{authority.file}"\nclient = [["{certificate}", "{key}"]]\n[header]\nx-key = "secret"\n')
    auth = {"username": "joe", "password": "hidden"}
    assert node.pull(f"{server.host}/test/app:1", auth=auth) == app.id
    blobs = [r for r in server.see() if "/blobs/" in r["path"]]
    assert blobs and {(r["status"], r["key"], r["client"]) for r in blobs} == {(307, "secret", "CN=the-node")}
    assert all(r["authorization"].startswith("Basic ") for r in blobs)
    # The authority is trusted there too, and that is all.
    arrived = elsewhere.see()
    assert len(arrived) == len(blobs)
    assert {(r["status"], r["authorization"], r["key"], r["client"]) for r in arrived} == {(200, "", "", "")}


# ---- short names ----

@pytest.fixture
def short(registry):
    """A repository of one part, as short names have it."""
    image = small("short")
    registry.push("shortie", "1", image)
    return image


def test_a_short_name_is_searched_for(node, short, nginx, conf, registry):
    empty = nginx(upstream=None)
    conf(f'unqualified-search-registries = ["{empty.host}", "{registry.host}"]\n')
    assert node.pull("shortie:1") == short.id
    assert [r["path"] for r in empty.see()] == ["/v2/shortie/manifests/1"]
    assert node.image_status(short.id).repo_tags == [f"{registry.host}/shortie:1"]
    message = error_of(lambda: node.pull("no-such:1"), KINDS.NOT_FOUND)
    in_order(message, f"{empty.host}/no-such:1: ", "404", f"{registry.host}/no-such:1: ", "404")


def test_a_short_name_means_the_same_everywhere(node, short, conf, registry):
    conf(f'unqualified-search-registries = ["{registry.host}"]\n')
    node.pull("shortie:1")
    assert node.image_status("shortie:1").id == short.id
    assert [i.id for i in node.client.ListImages(filter={"image": {"image": "shortie:1"}}).images] == [short.id]
    assert [i.id for m in node.client.StreamImages(filter={"image": {"image": "shortie:1"}}) for i in m.images] == [short.id]
    pod, config = node.pod()
    made = node.client.CreateContainer(pod_sandbox_id=pod, config={
        "metadata": {"name": "c"}, "image": {"image": "shortie:1"}, "command": ["/short"]}, sandbox_config=config)
    assert node.client.ContainerStatus(container_id=made.container_id).status.image_ref == short.id
    node.client.RemoveContainer(container_id=made.container_id)
    for words in (["images", "list", "shortie:1"], ["images", "inspect", "shortie:1"], ["explain", "shortie:1"]):
        said = subprocess.run([node.daemon.crisp, *words, "--socket", node.daemon.socket], stdout=subprocess.PIPE, text=True, timeout=60)
        assert said.returncode == 0 and f"{registry.host}/shortie" in said.stdout, words
    node.client.RemoveImage(image={"image": "shortie:1"})
    assert node.image_status("shortie:1") is None and node.image_status(short.id) is None


def test_what_a_short_name_means_outlives_the_daemon(own_node, short, registry):
    node = own_node()
    write(f"{node.daemon.root}/registries.conf", f'unqualified-search-registries = ["{registry.host}"]\n')
    node.pull("shortie:1")
    node.daemon.restart()
    assert node.image_status("shortie:1").id == short.id
    node.client.RemoveImage(image={"image": "shortie:1"})


def test_an_alias_wins_over_the_search(node, app, short, nginx, conf, registry):
    search = nginx()
    conf(f'unqualified-search-registries = ["{search.host}"]\n[aliases]\n"shortie" = "{registry.host}/test/app"\n')
    assert node.pull("shortie:1") == app.id
    assert search.see() == []
    assert node.image_status("shortie:1").repo_tags == [f"{registry.host}/test/app:1"]


def test_an_ambiguous_short_name_is_refused(node, short, nginx, conf, registry):
    other = nginx()
    conf(f'unqualified-search-registries = ["{other.host}", "{registry.host}"]\nshort-name-mode = "enforcing"\n')
    message = error_of(lambda: node.pull("shortie:1"), KINDS.FAILED_PRECONDITION)
    in_order(message, f"{other.host}/shortie:1 or {registry.host}/shortie:1", "enforcing")
    assert other.see() == []
    conf("unqualified-search-registries = []\n")
    assert "is empty" in error_of(lambda: node.pull("shortie:1"), KINDS.FAILED_PRECONDITION)
