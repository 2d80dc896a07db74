"""Secure connections with nodes by TLS (PS3.15 B.9)."""

import ssl
from collections.abc import Callable
from pathlib import Path

from pyconquest_rules.disk.named_files import read_named, real_named
from pyconquest_rules.network.node import TLS, Node, NodeError

LARGEST_CA, LARGEST_KEY, LARGEST_PASSWORD = 4 << 20, 1 << 20, 4096


def load_ca(context: ssl.SSLContext, file: Path, folder: Path | None) -> None:
    """Trust the certificates in a PEM file that rules in `folder` name. Raises OSError."""
    data = read_named(file, folder, LARGEST_CA)
    # Between the certificates, which are ASCII, bundles have names in any encoding.
    context.load_verify_locations(cadata=data.decode("ascii", "ignore"))


def load_own(
    context: ssl.SSLContext, certificate: Path, key: Path | None, folder: Path | None, password: Callable[[], str]
) -> None:
    """Load our certificate and key from PEM files that rules in `folder` name. Raises OSError or ValueError."""
    own = real_named(certificate, folder, LARGEST_KEY)
    context.load_cert_chain(own, real_named(key, folder, LARGEST_KEY) if key is not None else None, password=password)


def ssl_context(node: Node, tls: TLS) -> ssl.SSLContext:
    """Return a client context: TLS 1.2 or newer (PS3.15 B.9 and B.10), and the peer needs a valid certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.host_name is not None
    return _loaded(context, node, tls)


def server_context(node: Node, tls: TLS) -> ssl.SSLContext:
    """Return a context for connections from the node: TLS 1.2 or newer, and the node needs a valid certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, node, tls)


def _loaded(context: ssl.SSLContext, node: Node, tls: TLS) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        load_ca(context, tls.ca, tls.folder)
    except OSError:
        raise NodeError(node, f"cannot read the certificates of the CA: {tls.ca}", retry=False) from None
    if tls.certificate is None:
        return context
    password, asked = _password(node, tls), list[bool]()

    def give() -> str:
        # Without this callback, OpenSSL prompts for a password on the terminal.
        asked.append(True)
        return password or ""

    try:
        load_own(context, tls.certificate, tls.key, tls.folder, give)
    except (OSError, ValueError):
        why = "cannot be read" if not asked else "has another password" if password else "is encrypted; set key_password"
        what = f"the key of our certificate {why}" if asked else f"our certificate or its key {why}"
        raise NodeError(node, f"{what}: {tls.key or tls.certificate}", retry=False) from None
    return context


def _password(node: Node, tls: TLS) -> str | None:
    """Return the password of our key, or None. A line break at the end of the password file is removed."""
    if tls.key_password_file is None:
        return tls.key_password
    try:
        return read_named(tls.key_password_file, tls.folder, LARGEST_PASSWORD).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise NodeError(node, f"cannot read the password of our key: {tls.key_password_file}", retry=False) from None
