"""Wheel, source package and editable install all make ``twistd mizu`` appear.

Each goes into a fresh virtual environment that sees the libraries of this one through a ``.pth`` line:
nothing is downloaded, and a test takes seconds. (Such a line does not follow the ``.pth`` files inside, so an
editable mizu of this environment is not seen.)
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEAVE_OUT = shutil.ignore_patterns(
    ".*_cache",
    ".git",
    ".venv",
    ".hypothesis",
    "var",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    "dropin.cache",
    "*.so",
)
TWISTD = "from twisted.scripts.twistd import run; run()"
pytestmark = pytest.mark.limit(180)

PLUGIN = '''
"""A plugin of somebody else."""
from dataclasses import dataclass
from twisted.plugin import IPlugin
from zope.interface import implementer
from mizu.interfaces import IRouter, IRouterFactory

@dataclass(frozen=True)
class Settings:
    number: str = "100"

@implementer(IRouter)
class Nowhere:
    def find_routes(self, call):
        return ()

@implementer(IPlugin, IRouterFactory)
class NowhereFactory:
    name = "nowhere"
    description = "knows no number"
    settings = Settings
    def build(self, settings, services):
        return Nowhere()

nowhere = NowhereFactory()
'''
PLUGIN_SETUP = """
[metadata]
name = mizu-router-nowhere
version = 1.2.3
[options]
packages = mizu.plugins
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Environment:
    """A virtual environment with nothing of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        run(sys.executable, "-m", "venv", "--without-pip", path, cwd=path.parent)
        self.python = path / "bin" / "python"
        site = Path(
            run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=path).strip()
        )
        libraries = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
        (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
        self.elsewhere = path / "elsewhere"
        self.elsewhere.mkdir()

    def install(self, *what: str | Path) -> None:
        pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        run(self.python, *pip, "--no-deps", "--no-index", "--no-build-isolation", *what, cwd=self.elsewhere)

    def uninstall(self, name: str) -> None:
        run(self.python, "-m", "pip", "uninstall", "--quiet", "--yes", name, cwd=self.elsewhere)

    def twistd(self, *arguments: str) -> str:
        return run(self.python, "-c", TWISTD, *arguments, cwd=self.elsewhere)


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path / "fresh")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project, so that building leaves nothing in it."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("tree") / "mizu", ignore=LEAVE_OUT))


def build(kind: str, tree: Path, **environment: str) -> Path:
    """What setuptools makes of the tree."""
    (tree / "dist").mkdir(exist_ok=True)
    code = f"from setuptools.build_meta import build_{kind} as build; print(build('dist'))"
    told = run(sys.executable, "-c", code, cwd=tree, **environment)
    return tree / "dist" / told.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tree):
    return build("wheel", tree)


@pytest.fixture(scope="module")
def source_package(tree):
    return build("sdist", tree)


def works(environment: Environment) -> None:
    """The tap is found, the built-in plugins are found, the terminal client is there."""
    assert "mizu" in environment.twistd("--help")
    listing = environment.twistd("-n", "mizu", "--help-plugins")
    assert 'type = "store"  (mizu ' in listing
    assert 'type = "local"  (mizu ' in listing
    assert "broken" not in listing
    run(environment.path / "bin" / "mizu", "--help", cwd=environment.elsewhere)


def test_wheel(environment, wheel):
    """The supported way to install."""
    environment.install(wheel)
    works(environment)
    where = run(environment.python, "-c", "import mizu; print(mizu.__file__)", cwd=environment.elsewhere)
    assert where.startswith(str(environment.path))


def test_source_package(environment, source_package):
    """What the package index has builds on its own."""
    environment.install(source_package)
    works(environment)


def test_editable(environment, tree):
    """``pip install -e .`` needs no option: twistd sees the tap and the plugins."""
    environment.install("--editable", tree)
    works(environment)


COMPILED = {"messages": True, "datagrams": True}


def compiled_parts(environment: Environment) -> str:
    """What the installed server says it uses."""
    code = "from mizu import native; print(native.in_use())"
    return run(environment.python, "-c", code, cwd=environment.elsewhere).strip()


CAN_COMPILE = shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").exists()


@pytest.mark.skipif(not CAN_COMPILE, reason="there is no C compiler, or Python's headers are missing")
@pytest.mark.parametrize("how", ["wheel", "source_package", "editable"])
def test_the_compiled_parts_are_built_where_a_compiler_is(environment, tree, how, request):
    """Each way of installing makes them and uses them."""
    what = ("--editable", tree) if how == "editable" else (request.getfixturevalue(how),)
    environment.install(*what)
    assert compiled_parts(environment) == str(COMPILED)


def test_without_a_compiler_everything_installs_and_works(environment, tmp_path):
    """The compiled parts are optional: the build goes on, Python does their work."""
    tree = Path(shutil.copytree(ROOT, tmp_path / "tree", ignore=LEAVE_OUT))
    environment.install(build("wheel", tree, CC="no-compiler-of-that-name"))
    assert compiled_parts(environment) == str(dict.fromkeys(COMPILED, False))
    works(environment)


def test_wheel_has_what_runs_and_nothing_else(wheel):
    """Schema files and the dropin are in; tests, docs and an ``__init__.py`` in ``twisted/`` are not."""
    names = zipfile.ZipFile(wheel).namelist()
    assert "twisted/plugins/mizu_dropin.py" in names
    assert [name for name in names if name.startswith("twisted/")] == ["twisted/plugins/mizu_dropin.py"]
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"mizu", "twisted"}
    in_tree = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "mizu").rglob("*")
        if path.is_file() and path.suffix not in {".c", ".pyc", ".so"} and path.name != "dropin.cache"
    }
    assert "mizu/store/schema/0001_init.sql" in in_tree
    assert in_tree - set(names) == set()


def test_source_package_has_all_that_is_needed_to_work_on_it(source_package):
    """Tests, documentation, examples, licence."""
    with tarfile.open(source_package) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"LICENSE", "Makefile", ".ci/run", "etc/mizu.toml", "etc/mizu.service", "docs/start.rst"}
    assert (
        wanted | {"tests/conftest.py", "tests/test_layers.py", "CHANGELOG.rst", "bench/README.rst"} <= names
    )
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", "dropin.cache"))]


#: Of each distribution under ``plugins/``: the type of its plugin, and settings that name it.
SHIPPED = {
    "mizu-auth-http": (
        "http",
        '[[auth.backend]]\nname = "crm"\ntype = "http"\nurl = "https://crm.example/sip"\n',
    ),
    "mizu-ban-nftables": (
        "nftables",
        '[[guard.export]]\nname = "kernel"\ntype = "nftables"\nports = [5060]\n',
    ),
}


def test_every_distribution_under_plugins_is_installed_here():
    """None is shipped untested."""
    assert {path.name for path in (ROOT / "plugins").iterdir() if (path / "setup.cfg").exists()} == set(
        SHIPPED
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_a_plugin_as_a_third_party_ships_it(environment, wheel, tree, tmp_path, name):
    """A distribution under ``plugins/`` installs beside mizu, is found, keeps the contracts, goes away."""
    kind, settings = SHIPPED[name]
    project = tree / "plugins" / name
    environment.install(wheel)
    environment.install(project)
    listing = environment.twistd("-n", "mizu", "--help-plugins")
    assert f'type = "{kind}"  ({name} 1.0.0)\n' in listing
    tests = shutil.copytree(project / "tests", tmp_path / "tests")
    told = run(environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, cwd=tests)
    assert " passed" in told
    assert "failed" not in told
    config = tmp_path / "mizu.toml"
    config.write_text(settings)
    environment.twistd("-n", "mizu", "--config", str(config), "--data", str(tmp_path / "var"), "--check")
    environment.uninstall(name)
    assert f'"{kind}"' not in environment.twistd("-n", "mizu", "--help-plugins")


def test_plugin_of_somebody_else(environment, wheel, tmp_path):
    """A separate distribution with one file under ``mizu/plugins`` is found, and gone when uninstalled."""
    project = tmp_path / "mizu-router-nowhere"
    (project / "mizu" / "plugins").mkdir(parents=True)
    (project / "mizu" / "plugins" / "mizu_router_nowhere_dropin.py").write_text(PLUGIN)
    (project / "setup.cfg").write_text(PLUGIN_SETUP)
    (project / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools"]\n')
    environment.install(wheel)
    environment.install(project)
    listing = environment.twistd("-n", "mizu", "--help-plugins")
    assert 'type = "nowhere"  (mizu-router-nowhere 1.2.3)\n    knows no number\n' in listing
    assert 'type = "local"  (mizu ' in listing
    environment.uninstall("mizu-router-nowhere")
    assert "nowhere" not in environment.twistd("-n", "mizu", "--help-plugins")
