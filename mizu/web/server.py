"""Starts and stops the HTTP side: token, listener, run file."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mizu.config import HttpConfig
from mizu.console.rundir import RunFile, server_token
from mizu.errors import ConfigError
from mizu.observe import StatusBoard
from mizu.web.metrics import MetricsPage
from mizu.web.operators import OperatorDirectory, TokenStore
from mizu.web.policy import SingleToken
from mizu.web.routes import Commands, Routes
from mizu.web.site import LimitedSite
from mizu.web.uploads import Uploads


class WebServer:
    """
    The HTTP side of the server.

    ``start()``, then ``announce(sip)`` once SIP listens too, then ``stop()``. Nothing is open before.

    :param reactor: ``IReactorTCP`` and ``IReactorTime``.
    :param data_dir: where ``token`` and ``run.json`` are.
    :param tokens: of operators in the database; ``None``: only the token of the data directory counts.
    """

    log = Logger(namespace="mizu.web")

    def __init__(
        self,
        reactor: Any,
        config: HttpConfig,
        data_dir: str | Path,
        *,
        board: StatusBoard,
        commands: Commands,
        tokens: TokenStore | None = None,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._data_dir = Path(data_dir)
        self._board = board
        self._commands = commands
        self._tokens = tokens
        self._port: Any = None  # IListeningPort
        self._site: LimitedSite | None = None
        self._sampling = LoopingCall(board.sample)
        self._sampling.clock = reactor
        self.address = ""  #: ``host:port`` once it listens

    def start(self) -> str:
        """
        Make or read the token, listen, begin to sample rates.

        :return: the real address, ``host:port``; empty when the configuration has no HTTP side.
        :raise ConfigError: the address or the token file cannot be used.
        """
        self._sampling.start(1.0, now=False)
        if not self._config.listen:
            return ""
        token = server_token(self._data_dir)
        host, port = split_listen(self._config.listen)
        local = is_loopback(host)
        if not local:
            self.log.warn(
                "HTTP listens on {host}, beyond loopback: who reaches it sees /status and /metrics, and "
                "tokens travel in clear text. Put a TLS proxy in front, or use 127.0.0.1.",
                host=host,
            )
        routes = Routes(
            board=self._board,
            metrics=MetricsPage(self._board),
            commands=self._commands,
            operators=OperatorDirectory(SingleToken(token), self._tokens, self._reactor.seconds),
            any_host=not local,
        )
        self._site = LimitedSite(
            routes.app.resource(),
            body_bytes=self._config.body_bytes,
            connections_max=self._config.connections,
            reactor=self._reactor,
        )
        self._site.uploads = Uploads(
            self._data_dir / "import" / "uploads", self._config.upload_bytes, routes.admit_upload
        )
        self._site.uploads.clear()
        try:
            self._port = self._reactor.listenTCP(port, self._site, interface=host)
        except Exception as error:  # CannotListenError, or OSError for a name that does not resolve
            raise ConfigError([f"http.listen: cannot listen on {self._config.listen}: {error}"]) from None
        self.address = shown_address(self._port.getHost())
        return self.address

    def announce(self, sip: list[str]) -> None:
        """Write ``run.json``: where HTTP and SIP listen (``proto:host:port``). :raise OSError:"""
        RunFile(self.address, os.getpid(), sip).write(self._data_dir)

    def stop(self) -> "Deferred[None]":
        """Listen no more, close connections, remove ``run.json``. Fires when all is closed, within 2 s."""
        if self._sampling.running:
            self._sampling.stop()
        RunFile.remove(self._data_dir)
        if self._port is None:
            return maybeDeferred(lambda: None)
        closed = maybeDeferred(self._port.stopListening)
        self._port = None
        return closed.addCallback(lambda _: self._site.close_connections() if self._site else None)


def split_listen(text: str) -> tuple[str, int]:
    """``127.0.0.1:8080``, ``[::1]:8080``, ``localhost:0``. :raise ConfigError:"""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""  # an IPv6 address without brackets: where does it end?
    if not host or not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigError([f"http.listen: want HOST:PORT, got {text!r}"])
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown_address(address: IPv4Address | IPv6Address) -> str:
    """``host:port``, an IPv6 host in brackets."""
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
