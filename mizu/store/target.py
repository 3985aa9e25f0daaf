"""Where a PostgreSQL is: connection parameters, their printable form, host names without blocking.

libpq resolves a host name in the thread that connects, which is the reactor's; so names are resolved here
and handed over as ``hostaddr`` (the name stays in ``host``, TLS verification needs it).
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from mizu.errors import StoreBusy


def is_name(host: str) -> bool:
    """A host that DNS must resolve: neither an address nor the directory of a UNIX socket."""
    if not host or host.startswith(("/", "@")):
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def redacted(parameters: Mapping[str, str]) -> str:
    """The place as people read it, without password or anything else that may be a secret."""
    host = parameters.get("host") or parameters.get("hostaddr") or "(default)"
    port = f":{parameters['port']}" if parameters.get("port") else ""
    user = f"{parameters['user']}@" if parameters.get("user") else ""
    return f"postgresql://{user}{host}{port}/{parameters.get('dbname', '')}"


@implementer(IResolutionReceiver)
class _FirstAddress:
    """Collects the addresses of one name and fires with the first."""

    def __init__(self) -> None:
        self.done: Deferred[str | None] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        self._found.append(str(address.host))  # type: ignore[attr-defined]

    def resolutionComplete(self) -> None:
        self.done.callback(self._found[0] if self._found else None)


async def resolved(parameters: Mapping[str, str], reactor: Any) -> dict[str, str]:
    """
    The parameters with ``hostaddr`` for each host name.

    :raise StoreBusy: a name has no address now.
    """
    result = dict(parameters)
    hosts = parameters.get("host", "").split(",")
    if parameters.get("hostaddr") or not any(map(is_name, hosts)):
        return result
    addresses = []
    for host in hosts:
        if not is_name(host):
            addresses.append("" if host.startswith(("/", "@")) else host)
            continue
        receiver = _FirstAddress()
        reactor.nameResolver.resolveHostName(receiver, host, 0)
        address = await receiver.done
        if address is None:
            raise StoreBusy(f"the name of the database host {host!r} has no address")
        addresses.append(address)
    result["hostaddr"] = ",".join(addresses)
    return result
