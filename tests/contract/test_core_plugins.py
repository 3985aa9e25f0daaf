"""The built-in plugins keep the contracts that third parties are held to."""

from mizu.interfaces import IRouter
from mizu.plugins import mizu_core
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


class TestPrefixFactory(RouterFactoryContract):
    """``[[routing.router]] type = "prefix"``"""

    factory = mizu_core.prefix_router


class TestEchoFactory(RouterFactoryContract):
    """``[[routing.router]] type = "echo"``"""

    factory = mizu_core.echo_router


class TestEchoRouter(RouterContract):
    """The numbers of ``[media] echo_numbers``."""

    known_number = "9196"

    def make_router(self) -> IRouter:
        return mizu_core.echo_router.build(mizu_core.echo_router.settings(), plugin_services())
