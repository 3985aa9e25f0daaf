"""Bans as scripts for ``nft``, run by a program that writes down what it is told."""

import stat
from pathlib import Path

import pytest
import pytest_twisted
from mizu.plugins.mizu_ban_nftables_dropin import NftablesSettings, nftables
from mizu_ban_nftables import script
from mizu_ban_nftables.export import PACE_S, NftablesExport
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface.verify import verifyObject

from mizu.interfaces import IBanExport, IBanExportFactory, IWhiteListExport

FAKE = """#!/bin/sh
echo "args: $*" >> {log}
cat >> {log}
echo done >> {log}
exit {code}
"""


class FakeNft:
    """A program in the place of ``nft``."""

    def __init__(self, directory: Path) -> None:
        self.path, self.log = directory / "nft", directory / "log"
        self.exit_with(0)

    def exit_with(self, code: int) -> None:
        self.path.write_text(FAKE.format(log=self.log, code=code))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)

    @property
    def runs(self) -> list[str]:
        text = self.log.read_text() if self.log.exists() else ""
        return [run for run in text.split("done\n") if run]


@pytest.fixture
def fake(tmp_path: Path) -> FakeNft:
    return FakeNft(tmp_path)


@pytest.fixture
def export(fake: FakeNft):
    from twisted.internet import reactor

    made = NftablesExport(NftablesSettings(program=str(fake.path), ports=[5060]), reactor, Logger())
    yield made
    made.close()


async def until_told(fake: FakeNft, runs: int) -> list[str]:
    from twisted.internet import reactor

    for _ in range(100):
        if len(fake.runs) >= runs:
            await deferLater(reactor, 0.05)
            return fake.runs
        await deferLater(reactor, 0.05)
    raise AssertionError(f"{len(fake.runs)} runs instead of {runs}")


def test_it_is_what_the_server_takes(export: NftablesExport) -> None:
    """Factory and product have the interfaces; wrong settings are found before the start."""
    assert verifyObject(IBanExportFactory, nftables)
    assert verifyObject(IBanExport, export)
    assert verifyObject(IWhiteListExport, export)
    assert nftables.check(NftablesSettings()) == []
    assert len(nftables.check(NftablesSettings(table="x; flush ruleset", ports=[0]))) == 2


@pytest_twisted.ensureDeferred
async def test_the_start_makes_the_table_with_all_bans(export: NftablesExport, fake: FakeNft) -> None:
    """In one run, which the kernel takes whole or not at all."""
    export.begin([("192.0.2.7", 600.0), ("192.0.2.0/24", None), ("2001:db8::/64", 60.0)])
    (run,) = await until_told(fake, 1)
    assert run.startswith("args: -f -\nadd table inet mizu\n")
    assert "hook prerouting priority -300" in run
    assert "ip saddr @hosts4 th dport { 5060 } drop" in run
    assert "add element inet mizu hosts4 { 192.0.2.7 timeout 600s }" in run
    assert "add element inet mizu nets4 { 192.0.2.0-192.0.2.255 }" in run
    assert "add element inet mizu nets6 { 2001:db8::-2001:db8::ffff:ffff:ffff:ffff }" in run


@pytest_twisted.ensureDeferred
async def test_the_white_list_comes_through_whatever_is_banned(export: NftablesExport, fake: FakeNft) -> None:
    """Its rule is before those of the bans; a change of it is told alone, the same list again not at all."""
    export.whitelist(["192.0.2.9", "192.0.2.8", "2001:db8::/64"])
    export.begin([("192.0.2.0/24", None), ("192.0.2.9", 60.0)])
    (run,) = await until_told(fake, 1)
    rules = [line for line in run.splitlines() if line.startswith("add rule")]
    assert rules[0].endswith("ip saddr @white4 return")
    assert rules[3].endswith("ip6 saddr @white6 return")
    assert "add element inet mizu white4 { 192.0.2.8-192.0.2.9 }" in run
    assert "add element inet mizu white6 { 2001:db8::-2001:db8::ffff:ffff:ffff:ffff }" in run
    export.whitelist(["192.0.2.9", "192.0.2.8", "2001:db8::/64"])
    export.whitelist(["192.0.2.9"])
    run = (await until_told(fake, 2))[1]
    assert run.splitlines()[1:] == [
        "flush set inet mizu white4",
        "add element inet mizu white4 { 192.0.2.9 }",
        "flush set inet mizu white6",
    ]


@pytest_twisted.ensureDeferred
async def test_changes_are_gathered_into_one_run(export: NftablesExport, fake: FakeNft) -> None:
    """A hundred bans and one that ends."""
    for number in range(100):
        export.ban(f"192.0.2.{number}", 300.0)
    export.unban("192.0.2.5")
    (run,) = await until_told(fake, 1)
    assert run.count("timeout 300s") == 99
    assert run.splitlines()[-1].startswith("add element inet mizu hosts4 { 192.0.2.99")
    assert "delete element inet mizu hosts4 { 192.0.2.5 }" in run


@pytest_twisted.ensureDeferred
async def test_a_failed_run_is_followed_by_everything_anew(
    export: NftablesExport, fake: FakeNft, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost when the program could not do it the first time."""
    monkeypatch.setattr("mizu_ban_nftables.export.RETRY_S", PACE_S)
    fake.exit_with(1)
    export.ban("192.0.2.7", None)
    await until_told(fake, 1)
    fake.exit_with(0)
    runs = await until_told(fake, 2)
    assert export.failures == 1
    assert "add table inet mizu" in runs[1]
    assert "add element inet mizu hosts4 { 192.0.2.7 }" in runs[1]


@pytest_twisted.ensureDeferred
async def test_a_missing_program_hurts_nobody(fake: FakeNft, export: NftablesExport) -> None:
    """The server goes on; the log says why bans are not in the kernel."""
    from twisted.internet import reactor

    fake.path.unlink()
    export.ban("192.0.2.7", None)
    for _ in range(100):
        if export.failures:
            break
        await deferLater(reactor, 0.05)
    assert export.failures == 1


def test_overlapping_networks_become_one() -> None:
    """Sets of intervals refuse overlaps."""
    assert script.merged(["192.0.2.0/24", "192.0.2.5-192.0.3.9", "198.51.100.0/25", "::/64"], 4) == [
        "192.0.2.0-192.0.3.9",
        "198.51.100.0-198.51.100.127",
    ]
