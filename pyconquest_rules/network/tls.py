"""How a connection to a node is secured (PS3.15 B.9)."""

import ssl

from pyconquest_rules.network.node import TLS, Node, NodeError


def ssl_context(node: Node, tls: TLS) -> ssl.SSLContext:
    """TLS 1.2 or newer (PS3.15 B.9 and B.10), with a certificate of the peer that must hold."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = tls.host_name is not None
    try:
        context.load_verify_locations(tls.ca)
    except OSError:
        raise NodeError(node, f"the certificates of the CA cannot be read: {tls.ca}", retry=False) from None
    if tls.certificate is not None:
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
        except (OSError, ValueError):
            raise NodeError(node, f"our certificate or its key cannot be read: {tls.certificate}", retry=False) from None
    return context
