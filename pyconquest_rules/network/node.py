"""A node (a peer DICOM application entity), and the error of a node."""

from dataclasses import dataclass, field
from pathlib import Path

from pyconquest_rules.errors import Error


@dataclass(frozen=True, slots=True)
class TLS:
    """The TLS settings of a connection (PS3.15 B.9). `ca` has the certificates that must have signed the peer's certificate.

    `certificate` and `key` are ours, for peers that require one. `key_password`, or the content of `key_password_file`, decrypts
    the key. `host_name` is the host of the peer's certificate; None accepts any certificate that `ca` signed. `folder` is the
    folder of the rules that name these files.
    """

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    host_name: str | None = None
    key_password: str | None = field(default=None, repr=False)
    key_password_file: Path | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A peer application entity. Timeouts are in seconds: to connect, for association control (ACSE), for a DIMSE response.

    `max_pdu` is the longest PDU that we receive, in bytes; 0 for any length. The node reports storage commitment to
    `commitment_host` and `commitment_port` on associations of its own; without a port, it must report on that of the request.
    `commitment_timeout` is the time limit of a report, in seconds.
    """

    name: str
    ae_title: str
    host: str
    port: int
    calling_ae_title: str = "PYCONQUEST"
    connect_timeout: float = 10.0
    acse_timeout: float = 30.0
    dimse_timeout: float = 60.0
    max_pdu: int = 131072
    tls: TLS | None = None
    commitment_host: str = "127.0.0.1"
    commitment_port: int | None = None
    commitment_timeout: float = 60.0

    @property
    def identity(self) -> str:
        """Return the identity of a peer in the ledger: called AE title, host and port."""
        return f"{self.ae_title}@{self.host}:{self.port}"


class NodeError(Error):
    """A node cannot be reached, or a request to it failed. The text names the node and has no patient data.

    `retry` is whether the same request may succeed later, as after a lost connection.
    """

    exit_code = 1

    def __init__(self, node: Node, what: str, *, retry: bool = True) -> None:
        super().__init__(f"node {node.name} ({node.identity}): {what}")
        self.node, self.what, self.retry = node, what, retry
