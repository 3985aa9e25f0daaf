"""Contract suites for plugin factories and for routers, and what a factory's ``build`` is given in tests.

Subclass a suite in a test module, say what is to be tested, and run pytest::

    from mizu.testing.auth import AuthBackendContract
    from mizu.testing.plugins import AuthBackendFactoryContract, plugin_services
    from mizu.plugins.my_auth_dropin import MySettings, my_auth

    class TestMyFactory(AuthBackendFactoryContract):
        factory = my_auth
        sample = {"url": "https://auth.example/ha1"}

    class TestMyBackend(AuthBackendContract):
        def make_backend(self):
            return my_auth.build(MySettings(url="https://auth.example/ha1"), plugin_services())
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import Interface
from zope.interface.verify import verifyObject

from mizu.config import MediaConfig
from mizu.errors import CallRefused
from mizu.interfaces import IAuthBackend, IAuthBackendFactory, IRouter, IRouterFactory
from mizu.model import Account, CallRequest, Route
from mizu.pluginset import PluginServices, discover
from mizu.settings import read_section
from mizu.testing.auth import FakeAccountStore, result_now
from mizu.testing.clock import FakeClock

T = TypeVar("T")


def _no_http() -> Any:
    raise AssertionError("asked for the HTTP client too early: build() does no I/O")


def plugin_services(**changes: Any) -> PluginServices:
    """Services made of fakes; ``changes`` replaces fields of :class:`~mizu.pluginset.PluginServices`."""
    accounts = FakeAccountStore("alice", "bob")
    services = PluginServices(
        clock=FakeClock(),
        accounts=accounts,
        directory=accounts,
        find_bindings=lambda aor: (),
        realm="mizu",
        media=MediaConfig(),
        http=_no_http,
        log=Logger(),
    )
    return replace(services, **changes)


def call_request(called_number: str, **changes: Any) -> CallRequest:
    """A call of alice's phone on loopback; ``changes`` are other fields."""
    call = CallRequest(
        call_id="0" * 32,
        caller=Account(id=1, username="alice"),
        caller_number="alice",
        called_number=called_number,
        request_uri=f"sip:{called_number}@mizu.test",
        source_host="127.0.0.1",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return call._replace(**changes)


class FactoryContract:
    """What mizu relies on in every plugin factory. Use one of the two below."""

    #: the plugin: the instance at module level, not its class
    factory: Any
    #: settings as the table in the configuration has them, without ``name`` and ``type``
    sample: ClassVar[Mapping[str, Any]] = {}
    #: ``[plugins] path``, when the plugin is not installed but stands in such a directory
    path: ClassVar[Sequence[str]] = ()

    interface: ClassVar[type[Interface]]
    product: ClassVar[type[Interface]]

    def read(self) -> Any:
        """The sample, read as from the configuration."""
        problems: list[str] = []
        settings = read_section(self.factory.settings, self.sample, "sample", problems)
        assert not problems, problems
        return settings

    def test_it_is_an_instance_with_all_it_needs(self) -> None:
        """``twisted.plugin`` finds instances that provide ``IPlugin``, and only those."""
        assert not isinstance(self.factory, type), "the instance is the plugin, not its class"
        assert IPlugin.providedBy(self.factory), "@implementer(IPlugin, ...) is missing"
        verifyObject(self.interface, self.factory)

    def test_it_is_found(self) -> None:
        """It is installed, or stands in ``path``; nobody else uses its name."""
        found = [one for one in discover(self.path).plugins if one.name == self.factory.name]
        found = [one for one in found if one.kind.factory is self.interface]
        assert [one.factory for one in found] == [self.factory]
        assert not found[0].fault

    def test_its_name_and_description_read_well(self) -> None:
        """The name is what ``type`` in the configuration says; the description is one line of the listing."""
        assert isinstance(self.factory.name, str)
        assert self.factory.name.strip() == self.factory.name != ""
        assert isinstance(self.factory.description, str)
        assert self.factory.description
        assert "\n" not in self.factory.description

    def test_its_settings_are_a_frozen_dataclass(self) -> None:
        """``name`` and ``type`` are mizu's own keys in the table."""
        assert isinstance(self.factory.settings, type)
        assert is_dataclass(self.factory.settings)
        names = {item.name for item in fields(self.factory.settings)}
        assert not names & {"name", "type"}
        settings = self.read()
        for name in names:
            try:
                setattr(settings, name, None)
            except (FrozenInstanceError, AttributeError, TypeError):
                continue
            raise AssertionError("settings must be frozen")

    def test_an_unknown_setting_is_told(self) -> None:
        """A spelling mistake does not pass silently."""
        problems: list[str] = []
        read_section(self.factory.settings, {**self.sample, "no_such_thing": 1}, "table", problems)
        assert [problem for problem in problems if problem.startswith("table.no_such_thing: ")]

    def test_the_sample_has_nothing_to_object_to(self) -> None:
        """``check(settings)`` of the factory, where there is one, gives ``"key: what is wrong"`` texts."""
        check = getattr(self.factory, "check", None)
        if check is not None:
            assert list(check(self.read())) == []

    def test_build_makes_a_new_one_each_time_and_asks_nobody(self) -> None:
        """One table in the configuration is one instance; connections are made when first needed."""
        accounts = FakeAccountStore()
        services = plugin_services(accounts=accounts)
        first, second = (self.factory.build(self.read(), services) for _ in range(2))
        verifyObject(self.product, first)
        assert first is not second
        assert not accounts.asked


class AuthBackendFactoryContract(FactoryContract):
    """What mizu relies on in every ``IAuthBackendFactory``."""

    interface = IAuthBackendFactory
    product = IAuthBackend


class RouterFactoryContract(FactoryContract):
    """What mizu relies on in every ``IRouterFactory``."""

    interface = IRouterFactory
    product = IRouter


class RouterContract:
    """What mizu relies on in every ``IRouter``."""

    #: a number it finds routes for, and one it does not know; ``None``: it knows every number
    known_number = "bob"
    unknown_number: str | None = "no-such-number"

    def make_router(self) -> IRouter:
        """The router under test."""
        raise NotImplementedError

    def result(self, awaitable: Awaitable[T]) -> T:
        """Wait for an answer; override it where answers need a reactor."""
        return result_now(awaitable)

    def routes(self, number: str) -> Sequence[Route]:
        return self.result(self.make_router().find_routes(call_request(number)))

    def test_it_provides_the_interface(self) -> None:
        """The router has the method of ``IRouter`` with its arguments."""
        verifyObject(IRouter, self.make_router())

    def test_a_known_number_has_routes_that_can_be_tried(self) -> None:
        """Each has a name for the call row, and says either whose phones to ring or where to send."""
        routes = self.routes(self.known_number)
        assert routes
        for route in routes:
            assert isinstance(route, Route)
            assert route.name
            assert (route.account is None) != (not route.uri), "account or uri, one of them"
            assert route.ring_timeout_s >= 0
            assert route.answer_timeout_s >= 0

    def test_an_unknown_number_is_an_empty_answer(self) -> None:
        """So the next router is asked; it is no error."""
        if self.unknown_number is not None:
            assert list(self.routes(self.unknown_number)) == []

    def test_a_hostile_number_breaks_nothing(self) -> None:
        """Whatever a caller dials: routes, none, or a refusal."""
        for number in ("", "%", "'; --", "\0", "\udcff", "sip:x@y", "0" * 4000, "<>\r\nVia: x"):
            try:
                routes = self.routes(number)
            except CallRefused:
                continue
            assert all(isinstance(route, Route) for route in routes)
            assert not any("\r" in route.uri or "\n" in route.uri for route in routes)

    def test_no_secret_is_printed(self) -> None:
        """Logging a route shows no trunk password."""
        for route in self.routes(self.known_number):
            if route.credentials is not None and route.credentials.password:
                assert route.credentials.password not in repr(route)

    def test_two_calls_at_once_get_their_own_answers(self) -> None:
        """A second call before the first is answered disturbs nothing."""
        router = self.make_router()
        first = router.find_routes(call_request(self.known_number))
        second = router.find_routes(call_request(self.unknown_number or self.known_number))
        assert bool(self.result(second)) == (self.unknown_number is None)
        assert self.result(first)
