"""What an administrator and a plugin's author may rely on when plugins are found and chosen."""

import sys

import pytest
from twisted.logger import Logger

import mizu.plugins
from mizu import plugin_help, pluginset
from mizu.config import AuthConfig, Config, MediaConfig, PluginsConfig
from mizu.errors import ConfigError

GOOD = """
from dataclasses import dataclass
from twisted.plugin import IPlugin
from zope.interface import implementer
from mizu.interfaces import IAuthBackend, IAuthBackendFactory
from mizu.settings import setting

@dataclass(frozen=True)
class Settings:
    url: str = setting(doc="where to ask")
    timeout_s: float = setting(1.5, "for the whole answer", least=0.1)
    password: str = setting("", "to log in with")
    when_down: str = setting("reject", "what a caller gets", choices=("reject", "accept"))

@implementer(IAuthBackend)
class Backend:
    def __init__(self, settings):
        self.settings = settings
    def find(self, query):
        return None

@implementer(IPlugin, IAuthBackendFactory)
class Factory:
    name = "NAME"
    description = "asks a web server"
    settings = Settings
    def build(self, settings, services):
        return Backend(settings)
    def check(self, settings):
        return [] if settings.url.startswith("https:") else ["url: must begin with https:"]

plugin = Factory()
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A directory of plugin files; ``site(file=text)`` writes them and gives a configuration that has it."""
    monkeypatch.setattr(mizu.plugins, "__path__", list(mizu.plugins.__path__))
    pluginset._discover.cache_clear()
    written = []

    def make(directory: str = "site", **files: str) -> Config:
        path = tmp_path / directory
        path.mkdir(exist_ok=True)
        for name, text in files.items():
            (path / f"{name}.py").write_text(text)
            written.append(f"mizu.plugins.{name}")
        pluginset._discover.cache_clear()
        return Config(plugins=PluginsConfig(path=[str(path)]))

    yield make
    pluginset._discover.cache_clear()
    for name in written:
        sys.modules.pop(name, None)
        vars(mizu.plugins).pop(name.rpartition(".")[2], None)


def with_backends(config: Config, *tables: dict[str, object]) -> Config:
    return Config(plugins=config.plugins, auth=AuthConfig(backend=list(tables)))


def told(config: Config) -> list[str]:
    """What is wrong with the plugins of a configuration."""
    problems: list[str] = []
    pluginset.check(config, problems, "mizu.toml: ")
    return problems


@pytest.fixture
def services():
    return pluginset.PluginServices(
        clock=None,  # type: ignore[arg-type]
        accounts=None,  # type: ignore[arg-type]
        directory=None,  # type: ignore[arg-type]
        find_bindings=lambda aor: (),
        realm="mizu",
        media=MediaConfig(),
        http=lambda: None,  # type: ignore[arg-type,return-value]
        log=Logger(),
    )


def test_the_default_configuration_needs_no_other_plugins(site):
    """What the defaults name is built in."""
    assert told(Config()) == []


def test_a_file_in_a_configured_directory_is_a_plugin(site, services):
    """[plugins] path is all that a site needs for a plugin of its own; its settings come checked."""
    config = with_backends(
        site(partner_dropin=GOOD.replace("NAME", "partner")),
        {"name": "p", "type": "partner", "url": "https://h/", "timeout_s": 3},
        {"type": "partner", "url": "https://i/"},
    )
    assert told(config) == []
    (name, backend), (other, _) = pluginset.build_auth_backends(config, services)
    assert (name, backend.settings.timeout_s, other) == ("p", 3.0, "partner")


def test_wrong_settings_of_a_plugin_are_told_like_those_of_the_core(site):
    """Unknown, missing, wrong type, out of bounds, and what the plugin itself objects to."""
    config = with_backends(
        site(partner_dropin=GOOD.replace("NAME", "partner")),
        {"name": "a", "type": "partner", "timeout": 3, "timeout_s": 0, "password": 5},
        {"name": "b", "type": "partner", "url": "http://h", "when_down": "pray"},
        {"name": "c", "type": "partner", "url": "http://h"},
        {"name": "c", "type": "partner", "url": "https://h"},
        {"name": "d"},
        {"name": 5, "type": "partner"},
    )
    assert told(config) == [
        "mizu.toml: auth.backend[1].timeout: no such setting; did you mean 'timeout_s'?",
        "mizu.toml: auth.backend[1].url: must be given (where to ask)",
        "mizu.toml: auth.backend[1].timeout_s: 0.0 is too small, the least is 0.1",
        "mizu.toml: auth.backend[1].password: want text, got a secret of another type",
        "mizu.toml: auth.backend[2].when_down: 'pray' is not one of reject, accept",
        "mizu.toml: auth.backend[3].url: must begin with https:",
        "mizu.toml: auth.backend[4].name: 'c' is taken by an earlier auth backend",
        "mizu.toml: auth.backend[5].type: must be given, a text",
        "mizu.toml: auth.backend[6].name: must be given, a text",
    ]


def test_a_plugin_that_is_not_installed(site):
    """The nearest name that is installed is offered."""
    assert told(with_backends(site(), {"name": "a", "type": "stor"})) == [
        "mizu.toml: auth.backend[1].type: 'stor': no such auth backend installed; did you mean 'store'?"
    ]


def test_a_plugin_file_that_cannot_be_imported_is_named_when_it_is_missed(site, clean_reactor, capfd):
    """The reason stands with the name that is missing; no traceback, and nobody else is bothered."""
    config = site(ldap_dropin="import no_such_library\n")
    (problem,) = told(with_backends(config, {"name": "a", "type": "ldap"}))
    assert problem.startswith("mizu.toml: auth.backend[1].type: 'ldap': no such auth backend installed")
    assert "site/ldap_dropin.py: ModuleNotFoundError: No module named 'no_such_library'" in problem
    assert told(config) == []
    assert "ldap_dropin.py: ModuleNotFoundError" in plugin_help.listing(config.plugins.path)
    assert capfd.readouterr() == ("", "")
    assert clean_reactor == []


def test_two_plugins_of_one_name(site):
    """Neither wins silently."""
    config = site(one_dropin=GOOD.replace("NAME", "store"))
    (problem,) = told(config)
    assert problem.startswith("two plugins call themselves auth backend 'store': ")
    assert "mizu 0." in problem
    assert "one_dropin.py" in problem


def test_two_plugin_files_of_one_name(site, tmp_path):
    """The second would vanish silently, so it is a start error."""
    site("first", same_dropin=GOOD.replace("NAME", "first"))
    site("second", same_dropin=GOOD.replace("NAME", "second"))
    config = Config(plugins=PluginsConfig(path=[str(tmp_path / "first"), str(tmp_path / "second")]))
    (problem,) = told(config)
    assert problem.startswith(
        f"{tmp_path}/second/same_dropin.py is hidden by {tmp_path}/first/same_dropin.py"
    )


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("def build(self, settings, services):", "def build(self, settings):", "build"),
        ("    settings = Settings\n", "", "settings"),
        ("    settings = Settings\n", "    settings = {}\n", "its settings are not a dataclass"),
        (
            "    settings = Settings\n",
            "    @property\n    def settings(self): import nix\n",
            "No module named 'nix'",
        ),
    ],
)
def test_a_plugin_that_does_not_keep_its_contract(site, old, new, fault):
    """What it lacks is said when it is configured; before that nobody is bothered."""
    text = GOOD.replace("NAME", "odd")
    assert old in text
    config = site(odd_dropin=text.replace(old, new))
    assert told(config) == []
    (problem,) = told(with_backends(config, {"name": "a", "type": "odd"}))
    assert problem.startswith("mizu.toml: auth.backend[1].type: the plugin 'odd' (file ")
    assert fault in problem
    assert "broken: " in plugin_help.listing(config.plugins.path)


def test_what_a_plugin_makes_is_checked(site, services):
    """A factory that returns something else is found at start, not at the first call."""
    text = GOOD.replace("NAME", "odd").replace("return Backend(settings)", "return 5")
    config = with_backends(site(odd_dropin=text), {"name": "a", "type": "odd", "url": "https:"})
    with pytest.raises(ConfigError, match=r"auth\.backend 'a': the plugin 'odd' made"):
        pluginset.build_auth_backends(config, services)


def test_no_backend_at_all(site):
    """A server that asks nobody lets nobody in: a mistake."""
    assert told(with_backends(site())) == ["mizu.toml: auth.backend: at least one auth backend is needed"]


def test_the_listing_tells_all_about_a_plugin(site):
    """--help-plugins: type, origin, settings with type, default, unit and meaning."""
    text = plugin_help.listing(site(partner_dropin=GOOD.replace("NAME", "partner")).plugins.path)
    assert '  type = "partner"  (file ' in text
    assert "    url  (text, must be given)\n        where to ask\n" in text
    assert (
        "    timeout_s  (number, default 1.5)\n        for the whole answer (seconds, at least 0.1)\n" in text
    )
    assert f'  type = "store"  (mizu {mizu.__version__})' in text


def test_settings_declare_themselves_once():
    """A field made by ``setting`` copies its list, so that no two configurations share it."""
    assert AuthConfig().backend is not AuthConfig().backend
