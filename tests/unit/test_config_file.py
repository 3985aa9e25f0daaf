"""What an administrator may rely on when ``mizu.toml`` or the command line is wrong."""

import os

import pytest

from mizu.config import Config, DatabaseConfig
from mizu.config_file import CommandLine, read_config
from mizu.errors import ConfigError


@pytest.fixture
def problems(tmp_path, monkeypatch):
    """Reads a text as mizu.toml and gives what is wrong with it."""
    monkeypatch.chdir(tmp_path)

    def read(text: str, **line: object) -> list[str]:
        (tmp_path / "mizu.toml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            read_config("mizu.toml", CommandLine(**line))  # type: ignore[arg-type]
        return caught.value.problems

    return read


@pytest.fixture
def good(tmp_path, monkeypatch):
    """Reads a text as mizu.toml and gives the configuration."""
    monkeypatch.chdir(tmp_path)

    def read(text: str, **line: object) -> Config:
        (tmp_path / "mizu.toml").write_text(text)
        return read_config("mizu.toml", CommandLine(**line))  # type: ignore[arg-type]

    return read


def test_without_a_file_everything_has_its_default(tmp_path, monkeypatch):
    """Nothing needs to be configured; the data directory is absolute, because a daemon changes directory."""
    monkeypatch.chdir(tmp_path)
    assert read_config() == Config(data=str(tmp_path / "var"))


def test_every_problem_is_told_at_once_with_file_and_key(problems):
    """One look is enough: unknown names, wrong types and values out of bounds are told together."""
    assert problems(
        """
        [sip]
        listen = "udp:0.0.0.0:5060"
        relm = "x"
        [limit]
        calls = 1
        [limits]
        calls = "many"
        forks = 0
        [log]
        level = "loud"
        """
    ) == [
        "mizu.toml: [limit]: no such section; did you mean 'limits'?",
        "mizu.toml: sip.relm: no such setting; did you mean 'realm'?",
        "mizu.toml: sip.listen: want list of text, got 'udp:0.0.0.0:5060'",
        "mizu.toml: limits.calls: want whole number, got 'many'",
        "mizu.toml: limits.forks: 0 is too small, the least is 1",
        "mizu.toml: log.level: 'loud' is not one of debug, info, warn, error",
    ]


def test_a_syntax_error_is_told_with_its_line(problems):
    """TOML that cannot be read says where."""
    assert problems("[sip]\nrealm = x\n") == ["mizu.toml: not TOML: Invalid value (at line 2, column 9)"]


def test_a_file_that_is_not_there_or_not_text_is_told(problems, tmp_path):
    """No traceback for a wrong name."""
    with pytest.raises(ConfigError) as caught:
        read_config(str(tmp_path / "no.toml"))
    assert caught.value.problems == [f"{tmp_path}/no.toml: cannot be read: No such file or directory"]
    (tmp_path / "mizu.toml").write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8 text, at byte 2"):
        read_config(str(tmp_path / "mizu.toml"))


def test_a_section_must_be_a_section(problems):
    """A value where a section belongs is no crash."""
    assert problems("sip = 5\n") == ["mizu.toml: sip: want a section, [sip], got 5"]


def test_whole_numbers_stand_for_numbers_but_not_the_reverse(good, problems):
    """``t4_s = 5`` is fine, ``calls = 5.0`` and ``calls = true`` are not."""
    assert good("[sip]\nt4_s = 5\n").sip.t4_s == 5.0
    assert isinstance(good("[sip]\nt4_s = 5\n").sip.t4_s, float)
    assert problems("[limits]\ncalls = 5.0\nroutes = true") == [
        "mizu.toml: limits.calls: want whole number, got 5.0",
        "mizu.toml: limits.routes: want whole number, got True",
    ]


@pytest.mark.parametrize(
    ("listen", "complaint"),
    [
        ("0.0.0.0:5060", "'0.0.0.0:5060' must begin with udp: or tcp: or tls:"),
        ("sctp:0.0.0.0:5060", "'sctp:0.0.0.0:5060' must begin with udp: or tcp: or tls:"),
        ("udp:0.0.0.0", "'0.0.0.0' must be HOST:PORT"),
        ("udp:0.0.0.0:sip", "'0.0.0.0:sip': the port must be a number from 0 to 65535"),
        ("udp:0.0.0.0:65536", "'0.0.0.0:65536': the port must be a number from 0 to 65535"),
        ("udp:::1:5060", "'::1:5060': an IPv6 address stands in brackets, like [::1]:5060"),
        ("udp:[]:5060", "'[]:5060' has no host"),
        ("udp::5060", "':5060' must be HOST:PORT"),
    ],
)
def test_a_listener_that_cannot_be(problems, listen, complaint):
    """A listener is PROTO:HOST:PORT; what is wrong with it is said in words."""
    example = "; a listener is like udp:0.0.0.0:5060 or tcp:[::]:5060"
    assert problems(f'[sip]\nlisten = ["{listen}"]') == [f"mizu.toml: sip.listen: {complaint}{example}"]
    assert problems("", listen=[listen]) == [f"--sip: {complaint}{example}"]


def test_the_same_listener_twice(problems, good):
    """Told at start and not as a bind error; port 0 is another port each time."""
    assert problems("", listen=["udp:[::]:5060", "UDP:[::]:5060"]) == [
        "--sip: 'UDP:[::]:5060' is there twice"
    ]
    assert good("", listen=["udp:127.0.0.1:0", "udp:127.0.0.1:0"]).sip.listen == ["udp:127.0.0.1:0"] * 2


def test_a_proxy_that_cannot_be(problems, good):
    """Addresses without ports; a name would be whoever answers for it."""
    assert good('[registrar]\npath_from = ["192.0.2.1", "2001:db8::/48"]').registrar.path_from == [
        "192.0.2.1",
        "2001:db8::/48",
    ]
    told = problems('[registrar]\npath_from = ["edge.example", "192.0.2.1:5060"]')
    assert told[0].startswith("mizu.toml: registrar.path_from: want an address, a network")
    assert told[1:] == ["mizu.toml: registrar.path_from: '192.0.2.1:5060': without a port"]


def test_no_listener(problems):
    """A server nobody can reach is a mistake."""
    assert problems("[sip]\nlisten = []")[0].startswith(
        "mizu.toml: sip.listen: at least one listener is needed"
    )


def test_the_command_line_wins_over_the_file(good):
    """--sip replaces the listeners of the file, --http and --database what it says of them."""
    config = good(
        '[sip]\nlisten = ["udp:0.0.0.0:5060"]\nrealm = "r"\n[http]\nlisten = "0.0.0.0:80"\n',
        listen=["tcp:127.0.0.1:5070"],
        http="127.0.0.1:0",
        database="postgresql://h/n",
        demo=True,
    )
    assert config.sip.listen == ["tcp:127.0.0.1:5070"]
    assert (config.sip.realm, config.http.listen, config.database.url) == (
        "r",
        "127.0.0.1:0",
        "postgresql://h/n",
    )
    assert config.demo


def test_a_wrong_value_in_the_file_is_told_even_when_the_command_line_replaces_it(problems):
    """The file is checked whole."""
    assert problems("[sip]\nlisten = 5", listen=["udp:127.0.0.1:0"]) == [
        "mizu.toml: sip.listen: want list of text, got 5"
    ]


def test_certificate_and_key_must_be_readable_when_tls_is_on(problems, good, tmp_path):
    """A TLS listener finds its files at start; their names count from the directory of mizu.toml."""
    tls = '[sip]\nlisten = ["tls:0.0.0.0:5061"]\n'
    assert problems(tls + 'tls_certificate = "c.pem"\ntls_key = "k.pem"') == [
        f"mizu.toml: sip.tls_certificate: {tmp_path}/c.pem cannot be read",
        f"mizu.toml: sip.tls_key: {tmp_path}/k.pem cannot be read",
    ]
    assert problems('[sip]\ntls_key = "k.pem"') == [
        "mizu.toml: sip.tls_certificate: tls_certificate and tls_key belong together"
    ]
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text("PEM")
    config = good(tls + 'tls_certificate = "c.pem"\ntls_key = "k.pem"')
    assert config.sip.tls_key == os.path.join(tmp_path, "k.pem")


def test_settings_that_contradict_each_other(problems):
    """What only shows when two settings meet is told too."""
    told = problems(
        """
        [sip]
        t1_s = 5
        advertise = "host:5060"
        realm = 'a"b'
        [auth]
        algorithms = ["MD5", "MD5"]
        [call]
        session_min_s = 4000
        [media]
        echo_rtp_ports = "31000-30000"
        [database]
        url = "mysql://root:pw@h/x"
        [http]
        listen = "8080"
        [plugins]
        path = ["nowhere"]
        """
    )
    assert [problem.partition(": ")[2].partition(":")[0] for problem in told] == [
        "sip.advertise",
        "sip.realm",
        "sip.t1_s",
        "call.session_min_s",
        "auth.algorithms",
        "media.echo_rtp_ports",
        "database.url",
        "http.listen",
        "plugins.path",
    ]
    assert "pw" not in " ".join(told)


def test_a_printed_configuration_shows_no_secret():
    """Logs and tracebacks may print a configuration."""
    config = Config(database=DatabaseConfig(url="postgresql://mizu:hunter2@db/mizu?sslpassword=hunter3"))
    assert "postgresql://mizu:***@db/mizu" in repr(config)
    assert "hunter" not in repr(config)
    tables = [{"name": "t", "type": "prefix", "trunk": [{"password": "hunter4", "user": "u"}]}]
    assert "hunter" not in repr(type(config.routing)(router=tables))


def test_no_http_is_allowed(good):
    """An empty listener turns HTTP off."""
    assert good('[http]\nlisten = ""').http.listen == ""
