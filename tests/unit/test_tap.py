"""The command line of ``twistd mizu``."""

import subprocess
import sys
from pathlib import Path

import pytest
from twisted.python import usage

import mizu
from mizu import tap

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


def parsed(*arguments: str) -> tap.Options:
    options = tap.Options()
    options.parseOptions(list(arguments))
    return options


def stopped(*arguments: str) -> object:
    with pytest.raises(SystemExit) as caught:
        parsed(*arguments)
    return caught.value.code


def test_options_become_the_configuration(tmp_path, monkeypatch):
    """All that the command line can say, at once."""
    monkeypatch.chdir(tmp_path)
    config = parsed(
        *(
            "--sip",
            "udp:127.0.0.1:0",
            "--sip",
            "tcp:[::1]:5070",
            "--http",
            "127.0.0.1:0",
            "--data",
            "d",
            "--demo",
        ),
        *("--database", "postgresql:///mizu"),
    ).config
    assert config.sip.listen == ["udp:127.0.0.1:0", "tcp:[::1]:5070"]
    assert (config.http.listen, config.database.url, config.demo) == (
        "127.0.0.1:0",
        "postgresql:///mizu",
        True,
    )
    assert config.data == str(tmp_path / "d")


def test_problems_end_the_start_with_one_line_each(tmp_path):
    """Exit code 1 and every problem; the text of SystemExit goes to the standard error."""
    file = tmp_path / "mizu.toml"
    file.write_text("[sip]\nrealm = 5\n[auth]\nnonce = 1\n")
    assert stopped("--config", str(file), "--http", "nowhere") == (
        "mizu: the configuration has 3 problems:\n"
        f"  {file}: sip.realm: want text, got 5\n"
        f"  {file}: auth.nonce: no such setting; did you mean 'nonce_s'?\n"
        "  --http: 'nowhere' must be HOST:PORT"
    )


def test_check_stops_after_the_check(capsys):
    """For a look before a restart."""
    assert stopped("--check") == 0
    assert capsys.readouterr().out == "mizu: the configuration is good\n"


def test_version(capsys):
    """The version is mizu's, not Twisted's."""
    assert stopped("--version") == 0
    assert capsys.readouterr().out == f"mizu {mizu.__version__}\n"


def test_help_plugins_lists_what_is_built_in(capsys):
    """Every built-in plugin is there, whole."""
    assert stopped("--help-plugins") == 0
    listing = capsys.readouterr().out
    for name in ("store", "local", "prefix", "echo"):
        assert f'type = "{name}"  (mizu {mizu.__version__})' in listing
    assert "broken" not in listing


def test_an_unknown_option_is_a_usage_error():
    """twistd prints its help for that."""
    with pytest.raises(usage.UsageError):
        parsed("--nonsense")


@pytest.mark.limit(60)
def test_twistd_tells_problems_without_a_traceback(tmp_path: Path):
    """What a user sees in the terminal."""
    (tmp_path / "mizu.toml").write_text("[sip\n")
    run = subprocess.run(
        [*TWISTD, "-n", "--pidfile=", "mizu", "--config", "mizu.toml", "--sip", "5060"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("mizu: the configuration has 2 problems:\n  mizu.toml: not TOML: ")
    assert "--sip: '5060' must begin with" in run.stderr
    assert "Traceback" not in run.stdout + run.stderr
