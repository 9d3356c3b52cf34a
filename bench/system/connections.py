"""A requests session whose connections are watched: cut at a deadline, and refused at private addresses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requests import Response, Session


#: Gateways translate these addresses to the IPv4 address in their last 32 bits (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")

#: IPv4-compatible, local NAT64 and site-local addresses, which Python's `is_global` takes for public ones.
_NO_HOSTS = (IPv6Network("::/96"), IPv6Network("64:ff9b:1::/48"), IPv6Network("fec0::/10"))


class RefusedError(Exception):
    """A connection that must not be used."""


class Watch:
    """Watch of all connections of one session, which makes one request at a time.

    The first connection is to the address that the user chose. If that is public, no later one is to a private address: neither a
    redirect nor a name server can lead into the network of this machine.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._public: bool | None = None
        self._late = threading.Event()

    def opened(self, connection: socket.socket, *, proxied: bool) -> None:
        """Examine a new connection before anything is sent over it.

        Raises
        ------
        RefusedError
            If it leads to a private address. Behind a proxy only the proxy sees the address.
        TimeoutError
            If the deadline has passed meanwhile.
        """
        self._sockets = [s for s in self._sockets if s.fileno() != -1] + [connection]
        if self._late.is_set():
            raise TimeoutError
        if proxied:
            return
        peer = str(connection.getpeername()[0])
        public = is_public(peer)
        if self._public is None:
            self._public = public
        if self._public and not public:
            raise RefusedError(f"its server is at {peer}, a private address")

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Raise a TimeoutError if the block takes longer, however slowly bytes still come: its connection is cut."""
        self._late.clear()
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            if self._late.is_set():
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()
            timer.join()  # one that has fired must not cut the next attempt
        # A body without a length seems complete where its connection was cut.
        if self._late.is_set():
            raise TimeoutError

    def _cut(self) -> None:
        self._late.set()
        for connection in self._sockets:
            with suppress(OSError):
                # Not SSLSocket's own method: it changes the object, which another thread is reading from.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


def is_public(address: str) -> bool:
    """Whether an IP address is one host's, reachable from everywhere: not private, loopback, link-local, multicast or reserved.

    An IPv6 address that stands for an IPv4 one (mapped, 6to4, NAT64) is as public as that.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if any(ip in network for network in _NO_HOSTS):
            return False
        last = IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = ip.ipv4_mapped or ip.sixtofour or (last if ip in _NAT64 else ip)
    return ip.is_global and not ip.is_multicast


def watched_session(watch: Watch) -> Session:
    """Open a session without retries of its own, each of whose connections `watch` sees."""
    from requests import Session
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class Http(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            watch.opened(self.sock, proxied=self.proxy is not None)

    class Https(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            watch.opened(self.sock, proxied=self.proxy is not None)

    class HttpPool(HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(HTTPSConnectionPool):
        ConnectionCls = Https

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            manager = super().proxy_manager_for(*args, **kwargs)
            manager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}
            return manager

    class OneRequest(Session):
        def get_redirect_target(self, resp: Response) -> None:
            """Name no next address: requests reads the body of a redirect that it might follow, whatever its size."""

    session = OneRequest()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    return session
