"""How a connection to a node is secured (PS3.15 B.9)."""

import ssl

from pyconquest_rules.network.node import TLS


def ssl_context(tls: TLS) -> ssl.SSLContext:
    """The client's side of TLS 1.2 or newer, where the peer must show a certificate that one of `tls.ca` signed.

    It must be of `tls.host_name` where there is one, which the caller gives as `server_hostname`. Raises OSError where a file
    cannot be read or is none of its kind.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = tls.host_name is not None
    context.load_verify_locations(tls.ca)
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
