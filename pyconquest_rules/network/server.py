"""A port that is listened on: who may connect, how a connection is secured, how many are open, how all of it ends."""

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

# How often the thread that accepts looks whether it should end, in seconds.
GLANCE = 0.2
# An association without a message for so many seconds is idle: others may get its place.
IDLE = 1.0


class ListenError(Error):
    """A port cannot be listened on, or its certificate cannot be used. The text says which."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """How a port is secured (PS3.15 B.9): our certificate with its key, and who signs the certificates that peers must show.

    `ca`: None asks peers for no certificate. `folder` is that of the rules that name these files.
    """

    certificate: Path
    key: Path
    ca: Path | None = None
    folder: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises ListenError where a file is not there or holds something else."""
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
    """Accepts connections and has each served in a thread of its own, so that a slow or silent peer delays nobody.

    `serve` gets the secured connection, which is closed here. `addresses` (IP addresses or networks) are those that may connect;
    empty: all. `admits` says of an address whether it may at this moment. At most `most` connections are open, and half of them
    may wait for one address: those on which there is no association (`associated`). Connections beyond, those of others and those
    that are not secured within `handshake` seconds are closed without a word: there is no protocol yet to say it in. `refused`
    gets the address and the reason.
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
        """Binds and listens; `port` is the real one from then on. Raises ListenError."""
        try:
            family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((self.host, self.port), family=family, backlog=256)
        except OSError as error:
            raise ListenError(f"cannot listen on {self.host}:{self.port}: {error.strerror or error}") from None
        self.port = self._socket.getsockname()[1]
        self._socket.settimeout(GLANCE)
        self._accepting.start()

    @property
    def stopping(self) -> bool:
        """Whether those that serve should come to an end."""
        return self._stopping.is_set()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """What the calling thread does herein is waited for when the server stops; else it is only read for, and woken."""
        mine = self._open[threading.current_thread()]
        mine.busy = True
        try:
            yield
        finally:
            mine.idle_since, mine.busy = time.monotonic(), False

    def associated(self) -> None:
        """The calling thread serves an association from now on: it does not wait for one any more."""
        mine = self._open[threading.current_thread()]
        mine.idle_since, mine.waiting = time.monotonic(), False

    def address(self) -> str:
        """The address of the peer that the calling thread serves."""
        return self._open[threading.current_thread()].address

    def make_room(self, places: int) -> bool:
        """Break an idle association off so that the calling thread's peer gets its place; False if no other address has too many.

        Too many are more than half of the `places`. Of these the association goes that was idle for the longest time, at least
        IDLE seconds: one that is at work is never broken off.
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
            self._refused(longest.address, "idle, and others need the place: this address has more than half of them")
        return bool(greedy)

    def stop(self, grace: float) -> None:
        """Accepts no more, ends the waiting of those that only wait, gives the busy ones `grace` seconds, and breaks the rest."""
        end = time.monotonic() + grace
        self._stopping.set()
        shut(self._socket, socket.SHUT_RDWR)  # where that wakes the thread that accepts, it need not glance
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
            except OSError:  # as when there are no file descriptors left: some will be given back
                self._stopping.wait(GLANCE)
                continue
            if reason := self._refusal(address[0]):
                connection.close()
                self._refused(address[0], reason)
                continue
            thread = threading.Thread(target=self._run, args=(connection,), name="association", daemon=True)
            self._open[thread] = _Open(connection, address[0], time.monotonic())
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads
                del self._open[thread]
                connection.close()
                self._refused(address[0], "the system gives no more threads")

    def _refusal(self, host: str) -> str:
        """Why a connection from an address is not served; "" if it is."""
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
        except OSError:  # the peer went away, or cannot prove who it is
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
    """A connection. `waiting`: for an association; `ended`: it was broken off, and goes."""

    connection: socket.socket
    address: str
    idle_since: float
    busy: bool = False
    waiting: bool = True
    ended: bool = False


def shut(connection: socket.socket, how: int) -> None:
    """Shuts a connection of another thread down, which wakes that thread; TLS, if any, is left alone."""
    with suppress(OSError):
        socket.socket.shutdown(connection, how)
