"""The built-in plugins keep the contracts that third parties are held to."""

from mizu.interfaces import IRouter
from mizu.plugins import mizu_core
from mizu.settings import read_section
from mizu.testing.auth import AuthBackendContract
from mizu.testing.plugins import (
    AuthBackendFactoryContract,
    RouterContract,
    RouterFactoryContract,
    plugin_services,
)


class TestStoreFactory(AuthBackendFactoryContract):
    """``[[auth.backend]] type = "store"``"""

    factory = mizu_core.store_backend


class TestStoreBackend(AuthBackendContract):
    """What the factory makes of default settings."""

    def make_backend(self):
        return mizu_core.store_backend.build(mizu_core.StoreBackendSettings(), plugin_services())


class TestLocalFactory(RouterFactoryContract):
    """``[[routing.router]] type = "local"``"""

    factory = mizu_core.local_router


class TestLocalRouter(RouterContract):
    """Calls to bob ring bob's phones."""

    def make_router(self) -> IRouter:
        return mizu_core.local_router.build(mizu_core.local_router.settings(), plugin_services())


TRUNKS = {
    "trunk": [
        {"name": "one", "uri": "sip:one.test", "username": "u", "password": "not to be shown"},
        {"name": "two", "uri": "sip:two.test;transport=tcp", "strip": 2, "add": "+"},
    ],
    "prefix": [{"prefix": "00", "trunks": ["two", "one"]}, {"prefix": "001", "trunks": ["one"]}],
}


class TestPrefixFactory(RouterFactoryContract):
    """``[[routing.router]] type = "prefix"``"""

    factory = mizu_core.prefix_router
    sample = TRUNKS

    def test_what_does_not_fit_together_is_told_at_start(self):
        """A prefix that names no known trunk is found with all other problems, before anything runs."""
        problems: list[str] = []
        wrong = {"prefix": [{"prefix": "0", "trunks": ["nowhere"]}]}
        settings = read_section(self.factory.settings, wrong, "x", problems)
        assert problems == []
        assert self.factory.check(settings) == ["prefix '0': there is no trunk 'nowhere'"]


class TestPrefixRouter(RouterContract):
    """Two trunks."""

    known_number = "0049"
    unknown_number = "49"

    def make_router(self) -> IRouter:
        settings = read_section(mizu_core.prefix_router.settings, TRUNKS, "x", [])
        assert settings is not None
        return mizu_core.prefix_router.build(settings, plugin_services())


class TestEchoFactory(RouterFactoryContract):
    """``[[routing.router]] type = "echo"``"""

    factory = mizu_core.echo_router


class TestEchoRouter(RouterContract):
    """The numbers of ``[media] echo_numbers``."""

    known_number = "9196"

    def make_router(self) -> IRouter:
        router = mizu_core.echo_router.build(mizu_core.echo_router.settings(), plugin_services())
        router.party_uri = "sip:echo@127.0.0.1:40000"
        return router
