"""TLS with a node: nothing is sent to a wrong peer."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.events import EVT_C_FIND

from pyconquest_rules.dicom import Level
from pyconquest_rules.network.node import TLS, Node, NodeError
from pyconquest_rules.network.query import find
from tests.conftest import Workplace
from tests.peers.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that signs the certificates of both sides."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@contextmanager
def peer(files: tuple[Path, Path] | None, clients: Path | None = None) -> Iterator[Node]:
    """Start a peer with a certificate and its key, or without TLS. `clients` is the CA of the callers' certificates."""
    context = None
    if files is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
    ae = AE(ae_title="PEER")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.2.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False, ssl_context=context, evt_handlers=[(EVT_C_FIND, lambda _: iter(()))])
    assert server is not None
    try:
        yield Node("peer", "PEER", "127.0.0.1", server.server_address[1], connect_timeout=5, acse_timeout=5, dimse_timeout=5)
    finally:
        server.shutdown()


def ask(node: Node, tls: TLS | None) -> list[dict[str, str]]:
    """Query the peer, which has no instances."""
    return list(find(replace(node, tls=tls), Level.PATIENT, {}))


def test_the_right_certificate_is_accepted_with_and_without_host_name(authority: Authority) -> None:
    with peer(authority.sign("archive.example")) as node:
        assert ask(node, TLS(authority.ca, host_name="archive.example")) == []
        assert ask(node, TLS(authority.ca)) == []


def test_a_peer_may_require_our_certificate(authority: Authority) -> None:
    with peer(authority.sign("archive.example"), authority.ca) as node:
        assert ask(node, TLS(authority.ca, *authority.sign("us.example"))) == []
        with pytest.raises(NodeError, match=r"rejected our certificate, or requires one|it may require a certificate"):
            ask(node, TLS(authority.ca))


def test_a_wrong_host_name_is_refused(authority: Authority) -> None:
    with (
        peer(authority.sign("archive.example")) as node,
        pytest.raises(NodeError, match="has a certificate of another host"),
    ):
        ask(node, TLS(authority.ca, host_name="other.example"))


def test_an_authority_that_we_do_not_trust_is_refused(authority: Authority) -> None:
    other = Authority(authority.folder, "other")
    with peer(other.sign("archive.example")) as node, pytest.raises(NodeError, match="is not signed by our CA"):
        ask(node, TLS(authority.ca))


def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    files = authority.sign("late.example", days=-1)
    with peer(files) as node, pytest.raises(NodeError, match="has an expired certificate"):
        ask(node, TLS(authority.ca))


def test_a_plain_peer_is_refused(authority: Authority) -> None:
    with peer(None) as node, pytest.raises(NodeError, match="TLS"):
        ask(node, TLS(authority.ca))


def test_a_caller_without_tls_is_refused_by_a_tls_peer(authority: Authority) -> None:
    with peer(authority.sign("archive.example")) as node, pytest.raises(NodeError, match=r"it may require TLS|requires TLS"):
        ask(node, None)


def test_unusable_files_are_errors(authority: Authority, tmp_path: Path) -> None:
    node = Node("peer", "PEER", "127.0.0.1", 1)
    with pytest.raises(NodeError, match="cannot read the certificates of the CA") as error:
        ask(node, TLS(tmp_path / "none.pem"))
    assert not error.value.retry


PASSWORD = "correct horse"

RULES = """
[nodes.peer]
ae_title = "PEER"
host = "127.0.0.1"
port = {port}

[nodes.peer.tls]
ca = "{ca}"
certificate = "{certificate}"
key = "{key}"
host_name = "archive.example"
{more}
"""


@pytest.mark.parametrize(
    ("more", "variable", "said"),
    [
        ('key_password = { env = "KEY_PASSWORD" }', PASSWORD, None),
        ('key_password_file = "password"', "", None),
        ('key_password = { env = "KEY_PASSWORD" }', "battery staple", "has another password"),
        ('key_password_file = "absent"', "", "cannot read the password of our key"),
        ("", "", "is encrypted; set key_password"),
    ],
)
def test_an_encrypted_key(
    authority: Authority,
    workplace: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    more: str,
    variable: str,
    said: str | None,
) -> None:
    """Its password comes from the environment or a file, and is never shown."""
    certificate, key = authority.sign("us.example")
    monkeypatch.setenv("KEY_PASSWORD", variable)
    (workplace.folder / "password").write_text(f"{PASSWORD}\n")
    with peer(authority.sign("archive.example"), authority.ca) as node:
        files = {"ca": authority.ca, "certificate": certificate, "key": authority.encrypted(key, PASSWORD)}
        workplace.rules(RULES.format(port=node.port, **files, more=more))
        asked = ("find", "peer", "--level", "patient")
        for done in (workplace.run(*asked), workplace.run(*asked, "--json"), workplace.run("check", "--json")):
            code = 0 if said is None or '"sources"' in done.out else 1
            assert done.code == code, done.err
            assert (said or "") in done.err or code == 0
            assert not any(secret in done.out + done.err for secret in (PASSWORD, "battery staple"))
    assert capfd.readouterr() == ("", "")  # OpenSSL does not prompt for a password


def test_no_repr_has_the_password(authority: Authority) -> None:
    tls = TLS(authority.ca, *authority.sign("us.example"), key_password=PASSWORD)
    assert PASSWORD not in repr(Node("peer", "PEER", "127.0.0.1", 1, tls=tls))
