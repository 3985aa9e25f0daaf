"""The built-in plugins keep the contracts that third parties are held to."""

import subprocess
import sys
from typing import ClassVar

import pytest

from mizu.errors import CallerMismatch, StoreBusy
from mizu.interfaces import IRouter
from mizu.plugins import mizu_core
from mizu.settings import read_section
from mizu.testing.auth import AuthBackendContract, all_ha1, auth_query, result_now
from mizu.testing.clock import FakeClock
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
        return mizu_core.store_backend.build(mizu_core.store_backend.settings(), plugin_services())


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


class TestFileFactory(AuthBackendFactoryContract):
    """``[[auth.backend]] type = "file"``"""

    factory = mizu_core.file_backend
    sample: ClassVar[dict[str, object]] = {"path": "/etc/mizu/users"}

    def test_a_path_from_nowhere_is_told_at_start(self):
        """The server may change its directory."""
        assert self.factory.check(self.factory.settings(path="users")) == ["path: must be absolute"]


class TestFileBackend(AuthBackendContract):
    """Users of a file that ``htdigest`` wrote."""

    @pytest.fixture(autouse=True)
    def file(self, tmp_path):
        self.path = tmp_path / "users"
        lines = [f"alice:mizu:{all_ha1('alice', 'secret')[name]}" for name in ("MD5", "SHA-256")]
        lines += ["# another realm, and what is no line", "no-such-person:other:" + "0" * 32, "x"]
        self.path.write_text("\n".join(lines) + "\n")
        self.clock = FakeClock()

    def make_backend(self):
        settings = mizu_core.file_backend.settings(path=str(self.path))
        return mizu_core.file_backend.build(settings, plugin_services(clock=self.clock))

    def test_a_changed_file_counts_within_a_second(self):
        """And one that has gone leaves what was read last."""
        backend = self.make_backend()
        assert result_now(backend.find(auth_query("bob"))) is None
        self.path.write_text("bob:mizu:" + "0" * 32 + "\n")
        self.clock.advance(1)
        assert result_now(backend.find(auth_query("bob"))) is not None
        self.path.unlink()
        self.clock.advance(1)
        assert result_now(backend.find(auth_query("bob"))) is not None
        assert result_now(backend.find(auth_query("alice"))) is None

    def test_a_file_that_was_never_there_is_no_answer(self):
        """Unknown would be wrong: it cannot say."""
        self.path.unlink()
        with pytest.raises(StoreBusy):
            result_now(self.make_backend().find(auth_query("alice")))


class TestIpFactory(AuthBackendFactoryContract):
    """``[[auth.backend]] type = "ip"``"""

    factory = mizu_core.ip_backend
    sample: ClassVar[dict[str, object]] = {
        "senders": ["192.0.2.0/24 alice", "10.1.*.* bob", "198.51.100.7:5080 bob"]
    }

    def test_what_cannot_be_read_is_told_at_start(self):
        """Each line by itself."""
        wrong = ["192.0.2.1", "300.0.0.1 alice", "sip.example.com alice", "192.0.2.1 alice"]
        assert len(self.factory.check(self.factory.settings(senders=wrong))) == 3


class TestIpBackend(AuthBackendContract):
    """Whoever sends from there is that account."""

    known_query: ClassVar[dict[str, object]] = {
        "source_host": "192.0.2.9",
        "has_credentials": False,
        "caller_number": "alice",
    }

    def make_backend(self):
        senders = ["192.0.2.0/24 alice", "198.51.100.7:5080 bob", "203.0.113.1 alice", "203.0.113.0/24 bob"]
        return mizu_core.ip_backend.build(mizu_core.ip_backend.settings(senders=senders), plugin_services())

    def test_by_address_and_port(self):
        """The address alone, or with its port; two accounts are a mismatch."""
        backend, invite = self.make_backend(), {"method": "INVITE", "has_credentials": False}
        for host, port, who in (
            ("192.0.2.200", 5060, "alice"),
            ("198.51.100.7", 5080, "bob"),
            ("198.51.100.7", 5060, None),
            ("203.0.113.2", 5060, "bob"),
            ("192.0.3.1", 5060, None),
        ):
            answer = result_now(backend.find(auth_query("x", source_host=host, source_port=port, **invite)))
            assert (answer.account.username if answer else None) == who
        with pytest.raises(CallerMismatch):
            result_now(backend.find(auth_query("x", source_host="203.0.113.1", **invite)))

    def test_only_its_own_name_registers(self):
        """A REGISTER is about the account that To names."""
        backend = self.make_backend()
        here = {"source_host": "203.0.113.1", "has_credentials": False}
        assert result_now(backend.find(auth_query("bob", **here))).account.username == "bob"
        assert result_now(backend.find(auth_query("carol", **here))) is None


def test_asking_which_plugins_there_are_imports_no_more_than_contracts():
    """Whoever looks for any plugin imports ours."""
    code = "import sys, mizu.plugins.mizu_core; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    contracts = {"mizu", "mizu.interfaces", "mizu.model", "mizu.plugins", "mizu.plugins.mizu_core"}
    assert {name for name in found.split() if name.startswith("mizu")} <= contracts
