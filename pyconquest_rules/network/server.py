"""A port that is listened on: who may connect, how a connection is secured, how many are open, how all of it ends."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from pyconquest_rules.errors import Error

# How often the thread that accepts looks whether it should end, in seconds.
GLANCE = 0.2


class ListenError(Error):
    """A port cannot be listened on, or its certificate cannot be used. The text says which."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """How a port is secured (PS3.15 B.9): our certificate with its key, and who signs the certificates that peers must show.

    `ca`: None asks peers for no certificate.
    """

    certificate: Path
    key: Path
    ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises ListenError where a file is not there or holds something else."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
            if self.ca is not None:
                context.load_verify_locations(self.ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:
            raise ListenError(
                f"the certificate {self.certificate}, its key or its ca cannot be used: {error.strerror or error}"
            ) from None
        return context


class Server:
    """Accepts connections and has each served in a thread of its own, so that a slow or silent peer delays nobody.

    `serve` gets the secured connection, which is closed here. `addresses` (IP addresses or networks) are those that may connect;
    empty: all. At most `most` connections are open. Those beyond, those of others and those that are not secured within
    `handshake` seconds are closed without a word: there is no protocol yet to say it in.
    """

    def __init__(
        self,
        host: str,
        port: int,
        serve: Callable[[socket.socket], None],
        *,
        addresses: tuple[str, ...] = (),
        tls: ServerTLS | ssl.SSLContext | None = None,
        most: int,
        handshake: float,
    ) -> None:
        self.host, self.port, self._serve, self._most, self._handshake = host, port, serve, most, handshake
        self._networks = tuple(ip_network(address, strict=False) for address in addresses)
        self._context = tls.context() if isinstance(tls, ServerTLS) else tls
        self._open: dict[threading.Thread, socket.socket] = {}
        self._busy: set[threading.Thread] = set()
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
        me = threading.current_thread()
        self._busy.add(me)
        try:
            yield
        finally:
            self._busy.discard(me)

    def stop(self, grace: float) -> None:
        """Accepts no more, ends the waiting of those that only wait, gives the busy ones `grace` seconds, and breaks the rest."""
        end = time.monotonic() + grace
        self._stopping.set()
        shut(self._socket, socket.SHUT_RDWR)  # where that wakes the thread that accepts, it need not glance
        self._accepting.join()
        self._socket.close()
        for thread, connection in list(self._open.items()):
            if thread not in self._busy:
                shut(connection, socket.SHUT_RD)
        for thread in list(self._open):
            thread.join(max(0.0, end - time.monotonic()))
        for thread, connection in list(self._open.items()):
            shut(connection, socket.SHUT_RDWR)
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
            if len(self._open) >= self._most or not self._allowed(address[0]):
                connection.close()
                continue
            thread = threading.Thread(target=self._run, args=(connection,), name="association", daemon=True)
            self._open[thread] = connection
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads
                del self._open[thread]
                connection.close()

    def _allowed(self, host: str) -> bool:
        address = ip_address(host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return not self._networks or any(address in network for network in self._networks)

    def _run(self, connection: socket.socket) -> None:
        me = threading.current_thread()
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(self._handshake)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                self._open[me] = connection
                connection.do_handshake()
            self._serve(connection)
        except OSError:  # the peer went away, or cannot prove who it is
            pass
        finally:
            connection.close()
            del self._open[me]


def shut(connection: socket.socket, how: int) -> None:
    """Shuts a connection of another thread down, which wakes that thread; TLS, if any, is left alone."""
    with suppress(OSError):
        socket.socket.shutdown(connection, how)
