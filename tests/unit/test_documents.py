"""Documents say what is so: they parse, links lead somewhere, examples run, generated ones are fresh."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree

import mizu.plugins
from mizu import config_pages, option_pages, pluginset
from mizu.accounts import field_pages
from mizu.config import Config
from mizu.config_file import read_config
from mizu.console.commands import command_table
from mizu.tap import Options
from mizu.testing.console import FakeConsole
from mizu.web.api_routes import ROUTES

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.rst"), *(ROOT / "docs").rglob("*.rst"), *(ROOT / "bench").glob("*.rst")])


def tree_of(path: Path) -> nodes.document:
    strict = {"report_level": 2, "halt_level": 2, "file_insertion_enabled": False}
    return publish_doctree(path.read_text(), source_path=str(path), settings_overrides=strict)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_is_well_formed_and_its_links_lead_somewhere(path: Path):
    """No reader meets a broken table or a link to nothing."""
    for reference in tree_of(path).findall(nodes.reference):
        target = reference.get("refuri", "")
        if target and not re.match(r"[a-z]+:", target):
            assert (path.parent / target.partition("#")[0]).exists(), f"{path.name}: {target}"


def test_etc_mizu_toml_is_what_the_settings_are():
    """``make etc`` was run after the last change of a setting."""
    assert (ROOT / "etc" / "mizu.toml").read_text() == config_pages.toml()


def test_the_settings_page_is_what_the_settings_are():
    """The same for the page."""
    assert (ROOT / "docs" / "settings.rst").read_text() == config_pages.rst()


def test_the_options_page_is_what_the_options_are():
    """The same for global options."""
    assert (ROOT / "docs" / "options.rst").read_text() == option_pages.rst()


def test_the_page_of_account_fields_is_what_the_fields_are():
    """The same for fields of accounts."""
    assert (ROOT / "docs" / "fields.rst").read_text() == field_pages.rst()


def test_the_console_page_has_every_command():
    """Each command, or its family, has a row of the table, in order."""
    text = (ROOT / "docs/console.rst").read_text()
    rows = re.findall(r"^(\w+) +``\1", text, re.MULTILINE)
    console = FakeConsole()
    assert rows == sorted(
        {command.name.split()[0] for command in command_table(console.services)} | set(rows)
    )
    assert {"audit", "ban", "banned", "failures", "import", "tokens", "whitelist"} <= set(rows)


def test_the_api_page_has_every_route():
    """With the command that it is."""
    text = (ROOT / "docs" / "api.rst").read_text()
    for route in ROUTES:
        row = rf"^{route.method} +``{re.escape(route.path)}`` +``{route.command}``$"
        assert re.search(row, text, re.M), f"{route.method} {route.path}"


def test_etc_mizu_toml_changes_nothing(monkeypatch):
    """It can be copied and used as it is: everything has its default."""
    monkeypatch.chdir(ROOT)
    assert read_config("etc/mizu.toml", check_plugins=pluginset.check) == read_config()


def test_every_default_in_etc_mizu_toml_is_right(tmp_path):
    """Taking the "#" away in front of a setting without changing it changes nothing."""
    text = re.sub(r"^#(?=\w+ = |\[\[)", "", config_pages.toml(), flags=re.M)
    (tmp_path / "mizu.toml").write_text(text)
    assert tomllib.loads(text)["limits"]["calls"] == Config().limits.calls
    got = read_config(str(tmp_path / "mizu.toml"), check_plugins=pluginset.check)
    assert got == read_config()


def test_etc_mizu_small_toml_works(monkeypatch):
    """The smallest configuration names only what is there."""
    monkeypatch.chdir(ROOT)
    config = read_config("etc/mizu-small.toml", check_plugins=pluginset.check)
    assert [table["type"] for table in config.routing.router] == ["echo", "local"]


def test_the_readme_names_every_option():
    """Nothing of the command line is a secret."""
    text = (ROOT / "README.rst").read_text()
    synopsis = Options().getUsage()
    options = set(re.findall(r"--[a-z-]+", synopsis)) - {"--help", "--version"}
    assert options
    assert not [option for option in options if f"``{option}" not in text]


def code_blocks(path: Path) -> list[str]:
    blocks = tree_of(path).findall(nodes.literal_block)
    return [block.astext() for block in blocks if "python" in block["classes"]]


@pytest.mark.limit(60)
def test_the_plugin_of_the_documentation_keeps_its_contract(tmp_path: Path):
    """The worked example, copied from the page into files, passes the tests of the page."""
    plugin, tests = code_blocks(ROOT / "docs" / "plugins.rst")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mizu_auth_file_dropin.py").write_text(plugin)
    (tmp_path / "test_it.py").write_text(tests)
    (tmp_path / "conftest.py").write_text(
        f"import mizu.plugins\nmizu.plugins.__path__.append({str(tmp_path / 'plugins')!r})\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(mizu.plugins.__file__).parents[2]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"\b1\d passed", run.stdout), run.stdout


def test_the_systemd_unit_uses_options_that_exist():
    """A unit that names an option we do not have would not start."""
    known = set(re.findall(r"--[a-z-]+", Options().getUsage())) | {"--pidfile"}
    text = (ROOT / "etc" / "mizu.service").read_text()
    used = {
        option
        for line in text.splitlines()
        if line.startswith("Exec")
        for option in re.findall(r"--[a-z-]+", line)
    }
    assert used
    assert used <= known
