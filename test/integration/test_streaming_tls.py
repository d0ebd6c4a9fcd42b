"""The streaming server with a certificate."""
import os
import ssl
import subprocess

import pytest
from kit.hung_disk import HungDisk
from kit.paths import program
from kit.wait import wait_for
from streams import Forwarder, SpdySession, WebSession, bound, connect, exec_url, read_head, sessions, streams_of
from test_port_forward import server

both = pytest.mark.parametrize("session", [SpdySession, WebSession], ids=["spdy", "websocket"])


def openssl(*words):
    subprocess.run([program("openssl"), *words], check=True, capture_output=True)


def authority(folder, name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt")


def certificate(folder, name, issuer, serial="1"):
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{folder}/{name}.key.new", "-out", f"{folder}/{name}.csr")
    with open(f"{folder}/ext", "w") as file:
        file.write("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", f"{folder}/{name}.csr", "-CA", f"{folder}/{issuer}.crt", "-CAkey", f"{folder}/{issuer}.key",
            "-set_serial", serial, "-days", "2", "-extfile", f"{folder}/ext", "-out", f"{folder}/{name}.crt.new")
    for kind in ("key", "crt"):
        os.rename(f"{folder}/{name}.{kind}.new", f"{folder}/{name}.{kind}")


@pytest.fixture
def keys(tmp_path):
    authority(tmp_path, "ca")
    certificate(tmp_path, "node", "ca")
    return tmp_path


def trusting(keys, **more):
    context = ssl.create_default_context(cafile=f"{keys}/ca.crt")
    for name, value in more.items():
        setattr(context, name, value)
    return context


def config(keys, *more):
    return {"streaming": "\n".join([f'tls_cert = "{keys}/node.crt"', f'tls_key = "{keys}/node.key"', *more])}


@both
def test_exec_under_tls(own_node, keys, session):
    node = own_node(config=config(keys))
    container = node.sleeper(node.pod())
    url = exec_url(node, container, "cat; exit 3", stdin=True)
    assert url.startswith("https://127.0.0.1:")
    client = session(url, streams_of(stdin=True), context=trusting(keys))
    sent = os.urandom(5 << 20)
    client.send(sent)
    client.close_stdin()
    out, _, status = client.wait()
    assert out == sent and b'"NonZeroExitCode"' in status
    wait_for(lambda: sessions(node) == 0, "the session's end")


@pytest.mark.parametrize("tunnel", [False, True], ids=["spdy", "tunnel"])
def test_port_forward_under_tls_with_half_closes(own_node, keys, tunnel):
    def count(connection):
        total = 0
        while part := connection.recv(65536):
            total += len(part)
        connection.sendall(b"%d" % total)

    node = own_node(config=config(keys))
    pod, _ = node.pod()
    with server(node, pod, count):
        url = node.client.PortForward(pod_sandbox_id=pod).url
        forwarder = Forwarder(url, tunnel, trusting(keys))
        connections = [forwarder.connect(7000) for _ in range(5)]
        for connection in connections:
            connection.send(b"x" * 1000000)
            connection.finish()
        assert [connection.wait() for connection in connections] == [b"1000000"] * 5
        forwarder.vanish()
    wait_for(lambda: sessions(node) == 0, "the session's end")


def test_a_client_that_vanishes_takes_its_command_along(own_node, keys):
    node = own_node(config=config(keys))
    container = node.sleeper(node.pod())
    client = SpdySession(exec_url(node, container, "echo up; sleep 4714"), streams_of(), context=trusting(keys))
    client.wait_for("up")
    client.vanish()
    wait_for(lambda: "4714" not in node.exec_sh(container, "ps -o args"), "the command's end")
    wait_for(lambda: sessions(node) == 0, "the session's end")


def test_the_certificate_is_read_again_when_it_changes(own_node, keys):
    node = own_node(config=config(keys))
    container = node.sleeper(node.pod())

    def serial():
        sock = connect(exec_url(node, container, "true"), trusting(keys))
        number = sock.getpeercert()["serialNumber"]
        sock.close()
        return number
    assert serial() == "01"
    certificate(keys, "node", "ca", "77")
    assert serial() == "4D"
    (keys / "node.crt").write_text("rubbish")
    assert serial() == "4D"
    assert "the certificate has changed and cannot be used" in node.daemon.log_text()
    certificate(keys, "node", "ca", "78")
    assert serial() == "4E"


def test_a_disk_that_hangs_holds_up_no_stream(own_node, keys, tmp_path):
    """Whoever comes meanwhile gets the certificate from before, after a moment."""
    (tmp_path / "disk").symlink_to(keys)
    files = [f'tls_cert = "{tmp_path}/disk/node.crt"', f'tls_key = "{tmp_path}/disk/node.key"']
    node = own_node(config={"streaming": "\n".join(files)})
    container = node.sleeper(node.pod())
    session = SpdySession(exec_url(node, container, "cat", stdin=True), streams_of(stdin=True), context=trusting(keys))
    session.send(b"before\n")
    session.wait_for("before")

    def lead_to(folder):
        (tmp_path / "new").symlink_to(folder)
        os.rename(tmp_path / "new", tmp_path / "disk")

    def run(command):
        return SpdySession(exec_url(node, container, command), streams_of(), context=trusting(keys))

    disk = HungDisk()
    try:
        lead_to(disk.path)
        assert run("true").status()["status"] == "Success"
        assert disk.waiting  # that look did happen, and hangs
        assert bound(node, "certificate_time") == 1
        assert run("true").status()["status"] == "Success"
        session.send(b"meanwhile\n")
        session.wait_for("meanwhile")
    finally:
        disk.release()
    lead_to(keys)
    certificate(keys, "node", "ca", "119")

    def serial():
        sock = connect(exec_url(node, container, "true"), trusting(keys))
        try:
            return sock.getpeercert()["serialNumber"]
        finally:
            sock.close()
    wait_for(lambda: serial() == "77", "the new certificate")
    session.send(b"after\n")
    session.wait_for("after")
    session.vanish()
    disk.close()


def test_what_the_server_said_last_arrives_though_it_takes_no_more(own_node, keys):
    """The client still sends when the server is done with it."""
    node = own_node(config=config(keys))
    container = node.sleeper(node.pod())
    sock = connect(exec_url(node, container, "true"), trusting(keys))
    sock.sendall(b"GET /exec/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + b"x" * 100000)
    assert read_head(sock)[0] == 404
    sock.close()


def test_clients_need_a_certificate_where_that_is_asked_for(own_node, keys):
    authority(keys, "clients")
    certificate(keys, "kubelet", "clients")
    certificate(keys, "stranger", "ca")
    node = own_node(config=config(keys, f'tls_client_ca = "{keys}/clients.crt"'))
    container = node.sleeper(node.pod())
    for name in (None, "stranger"):
        context = trusting(keys)
        if name:
            context.load_cert_chain(f"{keys}/{name}.crt", f"{keys}/{name}.key")
        with pytest.raises((OSError, EOFError)):
            SpdySession(exec_url(node, container, "true"), streams_of(), context=context)
    context = trusting(keys)
    context.load_cert_chain(f"{keys}/kubelet.crt", f"{keys}/kubelet.key")
    assert SpdySession(exec_url(node, container, "true"), streams_of(), context=context).status()["status"] == "Success"


def test_versions_and_ciphers(own_node, keys):
    node = own_node(config=config(keys, 'tls_min_version = "1.3"', 'tls_ciphers = ["TLS_AES_256_GCM_SHA384"]'))
    container = node.sleeper(node.pod())
    with pytest.raises(OSError):
        connect(exec_url(node, container, "true"), trusting(keys, maximum_version=ssl.TLSVersion.TLSv1_2))
    sock = connect(exec_url(node, container, "true"), trusting(keys))
    assert sock.cipher()[:2] == ("TLS_AES_256_GCM_SHA384", "TLSv1.3")
    sock.close()


def test_a_cipher_by_its_name_at_iana(own_node, keys):
    node = own_node(config=config(keys, 'tls_ciphers = ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]'))
    container = node.sleeper(node.pod())
    sock = connect(exec_url(node, container, "true"), trusting(keys, maximum_version=ssl.TLSVersion.TLSv1_2))
    assert sock.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"
    sock.close()


def test_plain_http_gets_nowhere(own_node, keys):
    node = own_node(config=config(keys))
    container = node.sleeper(node.pod())
    with pytest.raises((OSError, EOFError, ValueError)):
        SpdySession(exec_url(node, container, "true").replace("https", "http"), streams_of())
    assert SpdySession(exec_url(node, container, "true"), streams_of(), context=trusting(keys)).status()["status"] == "Success"


@pytest.mark.parametrize("line,words", [
    ('tls_cert = "/no/such"\ntls_key = "/no/such"', "streaming.tls_cert"),
    ('tls_cert = "/no/such"', "one needs the other"),
    ('tls_min_version = "1.1"', "streaming.tls_min_version"),
    ('tls_ciphers = ["TLS_NO_SUCH"]', "streaming.tls_ciphers"),
    ('tls_client_ca = "/no/such"', "streaming.tls_client_ca"),
])
def test_what_cannot_be_stops_the_start_in_words(own_daemon, keys, line, words):
    whole = config(keys, line)["streaming"] if "tls_cert" not in line else line
    daemon = own_daemon(config={"streaming": whole}, start=False)
    daemon.start(wait=False)
    wait_for(lambda: not daemon.alive(), "the daemon's end")
    assert words in daemon.log_text()
    daemon.process = None
