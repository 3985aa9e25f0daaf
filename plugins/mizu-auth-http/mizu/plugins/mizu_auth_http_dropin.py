"""The plugin of mizu-auth-http. What is heavy to import is imported when a backend is built."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from twisted.plugin import IPlugin
from zope.interface import implementer

from mizu.interfaces import IAuthBackend, IAuthBackendFactory
from mizu.settings import setting

if TYPE_CHECKING:
    from mizu.pluginset import PluginServices


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Of ``type = "http"``."""

    url: str = setting(doc="where questions are posted: https://... or http://...")
    token: str = setting("", "sent as 'Authorization: Bearer'; empty: none")
    deadline_s: float = setting(2.0, "a question is answered within so long, all in all", least=0.05)
    in_flight_max: int = setting(100, "questions at a time; for one more the service counts as down", least=1)
    failures_max: int = setting(5, "so many failures in a row, and it is left alone", least=1)
    pause_s: float = setting(10.0, "for so long", least=0.1)
    when_down: str = setting(
        "reject", "reject: 503, come again; next: the next backend is asked", choices=("reject", "next")
    )
    by_username: bool = setting(
        True,
        "it judges by username alone: answers hold for every source, and it is not asked about requests "
        "without credentials",
    )
    cache_s: float = setting(60.0, "an answer is used again for so long, unless it says less", least=0)
    body_max_bytes: int = setting(65_536, "longest answer", least=256)
    private_targets: bool = setting(False, "the service may be at a private or loopback address")


@implementer(IPlugin, IAuthBackendFactory)
class HttpBackendFactory:
    """Asks a web service."""

    name = "http"
    description = "asks a web service who may log in (JSON over HTTP)"
    settings = HttpSettings

    def check(self, settings: HttpSettings) -> list[str]:
        """What the types of the settings cannot say."""
        try:
            parts = urlsplit(settings.url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            good = good and ":" not in (parts.hostname or "")  # treq takes no IPv6 numbers
        except ValueError:
            good = False
        return [] if good else ["url: want http://HOST/PATH or https://HOST/PATH, HOST no IPv6 number"]

    def build(self, settings: HttpSettings, services: "PluginServices") -> IAuthBackend:
        """A backend; connections are made when it is first asked."""
        from mizu_auth_http.backend import HttpBackend
        from mizu_auth_http.client import Poster

        poster = Poster(
            settings.url,
            token=settings.token,
            deadline_s=settings.deadline_s,
            body_max_bytes=settings.body_max_bytes,
            private_targets=settings.private_targets,
            addresses_of=services.addresses_of,
        )
        return HttpBackend(settings, poster.post, services.clock.mono_s)


http_backend = HttpBackendFactory()
