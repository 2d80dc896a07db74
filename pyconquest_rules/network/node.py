"""A node: a DICOM application entity that we call, and what can go wrong with it."""

from dataclasses import dataclass, field
from pathlib import Path

from pyconquest_rules.errors import Error


@dataclass(frozen=True, slots=True)
class TLS:
    """How a connection is secured (PS3.15 B.9). `ca` are those who may have signed the peer's certificate.

    `certificate` and `key` are ours, for peers that ask for them; `key_password`, or what is in `key_password_file`, opens an
    encrypted key. `host_name`: whose certificate the peer must have; None where any signed by `ca` will do.
    `folder` is that of the rules that name these files.
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
    """A peer application entity. Timeouts in seconds: to connect, for association control (ACSE), for a DIMSE answer.

    `max_pdu` is the longest PDU that we receive, in bytes; 0 for any length. `commitment_host` and `commitment_port` are where
    we take its reports of storage commitment on associations of its own; without a port it has to use ours. `commitment_timeout`:
    how many seconds it may take to report.
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
        """By what the ledger knows a peer: called AE title, host and port."""
        return f"{self.ae_title}@{self.host}:{self.port}"


class NodeError(Error):
    """A node cannot be reached, or does not do what was asked. The text names the node and never a patient.

    `retry`: whether the same may go well later, as after a lost connection.
    """

    exit_code = 1

    def __init__(self, node: Node, what: str, *, retry: bool = True) -> None:
        super().__init__(f"node {node.name} ({node.identity}): {what}")
        self.node, self.what, self.retry = node, what, retry
