"""Listen on a port: check addresses, secure connections, limit their number, and shut down in order."""

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from pyconquest_rules.errors import Error
from pyconquest_rules.network.tls import load_ca, load_own

INTERVAL = 0.2
"""Seconds between two checks of the accepting thread whether it must stop."""
IDLE = 1.0
"""Seconds without a message after which an association is idle, so that another may take its place."""


class ListenError(Error):
    """The listener cannot start: the port or the certificate cannot be used."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """The TLS settings of a port (PS3.15 B.9): our certificate and key, and the CA of the certificates of peers.

    If `ca` is None, peers need no certificate. `folder` is the folder of the rules that name these files.
    """

    certificate: Path
    key: Path
    ca: Path | None = None
    folder: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return the TLS context. Raises ListenError if a file is missing or invalid."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            load_own(context, self.certificate, self.key, self.folder, lambda: "")
            if self.ca is not None:
                load_ca(context, self.ca, self.folder)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:
            raise ListenError(
                f"the certificate {self.certificate}, its key or its ca cannot be used: {error.strerror or error}"
            ) from None
        return context


class Server:
    """Accepts connections and serves each in its own thread, so that a slow or silent peer delays no other.

    `serve` is called with the secured connection, which is closed afterwards. Only `addresses` (IP addresses or networks, or
    empty for any) for which `admits` returns True may connect. At most `most` connections are open; at most half of them may be
    connections of one address without an association (see `associated`). Other connections, and those without a TLS handshake
    within `handshake` seconds, are closed without a message, because no protocol is agreed yet. `refused` is called with the
    address and the reason.
    """

    def __init__(
        self,
        host: str,
        port: int,
        serve: Callable[[socket.socket], None],
        *,
        addresses: tuple[str, ...] = (),
        admits: Callable[[str], bool] = lambda address: True,
        tls: ServerTLS | ssl.SSLContext | None = None,
        most: int,
        handshake: float,
        refused: Callable[[str, str], None] = lambda address, reason: None,
    ) -> None:
        self.host, self.port, self._serve, self._most, self._handshake = host, port, serve, most, handshake
        self._networks = tuple(ip_network(address, strict=False) for address in addresses)
        self._context = tls.context() if isinstance(tls, ServerTLS) else tls
        self._refused, self._admits = refused, admits
        self._open: dict[threading.Thread, _Open] = {}
        self._stopping = threading.Event()
        self._accepting = threading.Thread(target=self._accept, name=f"accept {host}", daemon=True)

    def start(self) -> None:
        """Bind and listen. Afterwards `port` is the real port. Raises ListenError."""
        try:
            family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((self.host, self.port), family=family, backlog=256)
        except OSError as error:
            raise ListenError(f"cannot listen on {self.host}:{self.port}: {error.strerror or error}") from None
        self.port = self._socket.getsockname()[1]
        self._socket.settimeout(INTERVAL)
        self._accepting.start()

    @property
    def stopping(self) -> bool:
        """Return whether the server is stopping, so that associations must end."""
        return self._stopping.is_set()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Mark the calling thread as busy. `stop` waits for busy threads and interrupts the others."""
        mine = self._open[threading.current_thread()]
        mine.busy = True
        try:
            yield
        finally:
            mine.idle_since, mine.busy = time.monotonic(), False

    def associated(self) -> None:
        """Mark the connection of the calling thread as one with an association."""
        mine = self._open[threading.current_thread()]
        mine.idle_since, mine.waiting = time.monotonic(), False

    def address(self) -> str:
        """Return the address of the peer that the calling thread serves."""
        return self._open[threading.current_thread()].address

    def make_room(self, places: int) -> bool:
        """Close an idle association of another address that has more than half of the `places`.

        It closes the one that was idle for longest, at least IDLE seconds; a busy one is never closed. Return False if no other
        address has more than half of the places.
        """
        caller, now = self.address(), time.monotonic()
        associations = [each for each in list(self._open.values()) if not each.waiting and not each.ended]
        number = Counter(each.address for each in associations)
        greedy = [each for each in associations if each.address != caller and number[each.address] > places // 2]
        idle = [each for each in greedy if not each.busy and now - each.idle_since >= IDLE]
        if idle:
            longest = min(idle, key=lambda each: each.idle_since)
            longest.ended = True
            shut(longest.connection, socket.SHUT_RDWR)
            self._refused(longest.address, "idle, and others need its place: this address has more than half of all associations")
        return bool(greedy)

    def stop(self, grace: float) -> None:
        """Accept no more connections, close idle ones, give busy ones `grace` seconds, then close the rest."""
        end = time.monotonic() + grace
        self._stopping.set()
        shut(self._socket, socket.SHUT_RDWR)  # wakes the accepting thread on most systems
        self._accepting.join()
        self._socket.close()
        for each in list(self._open.values()):
            if not each.busy:
                shut(each.connection, socket.SHUT_RD)
        for thread in list(self._open):
            thread.join(max(0.0, end - time.monotonic()))
        for thread, each in list(self._open.items()):
            shut(each.connection, socket.SHUT_RDWR)
            thread.join(1.0)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:  # for example, no file descriptors are left: some will be freed
                self._stopping.wait(INTERVAL)
                continue
            if reason := self._refusal(address[0]):
                connection.close()
                self._refused(address[0], reason)
                continue
            thread = threading.Thread(target=self._run, args=(connection,), name="association", daemon=True)
            self._open[thread] = _Open(connection, address[0], time.monotonic())
            try:
                thread.start()
            except RuntimeError:  # no more threads
                del self._open[thread]
                connection.close()
                self._refused(address[0], "the system has no more threads")

    def _refusal(self, host: str) -> str:
        """Return why a connection is refused, or ""."""
        if not self._allowed(host):
            return "the address is not allowed"
        if len(self._open) >= self._most:
            return "too many connections"
        waiting = sum(each.waiting and each.address == host for each in list(self._open.values()))
        return "too many connections of this address wait for an association" if waiting >= self._most // 2 else ""

    def _allowed(self, host: str) -> bool:
        address = ip_address(plain(host))
        named = not self._networks or any(address in network for network in self._networks)
        return named and self._admits(str(address))

    def _run(self, connection: socket.socket) -> None:
        me = threading.current_thread()
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(self._handshake)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                self._open[me].connection = connection
                self._shake_hands(connection)
            self._serve(connection)
        except OSError:  # the peer closed the connection, or its certificate is invalid
            pass
        finally:
            connection.close()
            del self._open[me]

    def _shake_hands(self, connection: ssl.SSLSocket) -> None:
        try:
            connection.do_handshake()
        except OSError as error:
            what = getattr(error, "reason", None) or ("the peer is silent" if isinstance(error, TimeoutError) else "lost")
            self._refused(self.address(), f"the TLS handshake failed: {what}")
            raise


def plain(host: str) -> str:
    """Return an IP address without its zone, and as IPv4 if it is IPv4 in the form of IPv6."""
    address = ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


@dataclass(slots=True)
class _Open:
    """A connection: whether it is `waiting` for an association, and whether it was `ended` to make room."""

    connection: socket.socket
    address: str
    idle_since: float
    busy: bool = False
    waiting: bool = True
    ended: bool = False


def shut(connection: socket.socket, how: int) -> None:
    """Shut down a connection of another thread, which wakes that thread. TLS is not shut down."""
    with suppress(OSError):
        socket.socket.shutdown(connection, how)
