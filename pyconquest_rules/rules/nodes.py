"""`[nodes.NAME]`: turn the tables of nodes into the nodes of `network`."""

from collections.abc import Mapping
from pathlib import Path

from pyconquest_rules.network.node import TLS, Node
from pyconquest_rules.rules.model import NodeTable, NodeTLS


def nodes(tables: Mapping[str, NodeTable], base: Path) -> dict[str, Node]:
    """Return the nodes by name. Paths are relative to `base`."""
    return {name: _node(name, table, base) for name, table in tables.items()}


def _node(name: str, table: NodeTable, base: Path) -> Node:
    return Node(
        name=name,
        ae_title=table.ae_title,
        host=table.host,
        port=int(table.port),
        calling_ae_title=table.calling_ae_title,
        connect_timeout=table.connect_timeout,
        acse_timeout=table.acse_timeout,
        dimse_timeout=table.dimse_timeout,
        max_pdu=table.max_pdu,
        tls=_tls(table.tls, table.host, base) if table.tls is not None else None,
        commitment_host=table.commitment_host,
        commitment_port=table.commitment_port,
        commitment_timeout=table.commitment_timeout,
    )


def _tls(table: NodeTLS, host: str, base: Path) -> TLS:
    return TLS(
        ca=base / table.ca,
        certificate=base / table.certificate if table.certificate is not None else None,
        key=base / table.key if table.key is not None else None,
        key_password=table.key_password.get_secret_value() if table.key_password is not None else None,
        key_password_file=base / table.key_password_file if table.key_password_file is not None else None,
        folder=base,
        host_name=(table.host_name or host) if table.check_host_name else None,
    )
