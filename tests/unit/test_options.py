"""Global options: what their texts mean, which values are in force, who is told."""

import pytest
from twisted.internet.defer import Deferred, ensureDeferred

from mizu.errors import BadRequest, NotFound, Stale, StoreBusy
from mizu.options import KINDS, OPTIONS, Options, OptionSpec, stale

SPECS = {
    spec.name: spec
    for spec in (
        OptionSpec("depth", "int", 10, "Levels.", unit="levels", least=1, most=100),
        OptionSpec("strict", "bool", True, "Be strict."),
        OptionSpec("ban", "duration", 300.0, "How long.", least=1, most=86_400),
        OptionSpec("factor", "float", 1.5, "Times.", least=0),
        OptionSpec("mode", "int", 1, "Which.", choices={0: "off", 1: "normal"}),
        OptionSpec("colour", "choice", "red", "Which.", choices={"red": "warm", "blue": "cold"}),
        OptionSpec("agents", "list", ("a", "b"), "Words."),
        OptionSpec("greeting", "text", "", "Said first."),
        OptionSpec("hosts", "addresses", ("127.0.0.1",), "Where from."),
        OptionSpec("short", "int", 10, "Least.", unit="s", at_most="long"),
        OptionSpec("long", "int", 20, "Most.", unit="s"),
    )
}


class Kept:
    """A store in a dict; ``gate``: loads wait for it."""

    def __init__(self, **texts):
        self.texts, self.error, self.gate = dict(texts), None, None
        self.versions = dict.fromkeys(texts, 1)

    async def load(self):
        found = {name: (text, self.versions[name]) for name, text in self.texts.items()}
        if self.gate is not None:
            await self.gate
        if self.error:
            raise self.error
        return found

    async def put(self, name, text, by, version, note):
        if self.error:
            raise self.error
        if version is not None and version != self.versions.get(name, 0):
            raise stale(name)
        self.texts[name] = text
        self.versions[name] = self.versions.get(name, 0) + 1
        return self.versions[name]

    async def remove(self, name, version, note):
        self.texts.pop(name, None)
        self.versions.pop(name, None)


def options_over(store=None):
    return Options(store, SPECS)


@pytest.mark.parametrize("spec", OPTIONS.values(), ids=str)
def test_every_option_explains_itself(spec):
    """A name in the original's spelling, a known kind, a meaning, and a default that is allowed."""
    assert spec.name == spec.name.lower()
    assert spec.name.isidentifier()
    assert spec.kind in KINDS
    assert spec.meaning.endswith(".")
    assert len(spec.meaning) > 20
    assert spec.group
    assert spec.parse(spec.show(spec.default)) == spec.default
    assert type(spec.parse(spec.show(spec.default))) is type(spec.default)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("depth", "7", 7),
        ("depth", " 7 ", 7),
        ("strict", "off", False),
        ("strict", "Yes", True),
        ("ban", "90", 90.0),
        ("ban", "10m", 600.0),
        ("ban", "1.5h", 5400.0),
        ("ban", "1d", 86_400.0),
        ("factor", "2.25", 2.25),
        ("mode", "0", 0),
        ("colour", "blue", "blue"),
        ("agents", "x, y ,,z", ("x", "y", "z")),
        ("agents", "", ()),
        ("greeting", "Grüezi", "Grüezi"),
        (
            "hosts",
            "10.0.0.7/8, ::ffff:192.0.2.1, 192.0.2.4-192.0.2.7",
            ("10.0.0.0/8", "192.0.2.1", "192.0.2.4/30"),
        ),
        ("hosts", "", ()),
    ],
)
def test_texts_and_values(name, text, value):
    """What an operator types becomes a value of the option's type, and shows as a text that means it."""
    spec = SPECS[name]
    assert spec.parse(text) == value
    assert spec.parse(spec.show(value)) == value


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("depth", "0", "depth: want a whole number from 1 to 100, got '0'"),
        ("depth", "101", "from 1 to 100"),
        ("depth", "ten", "a whole number"),
        ("depth", "1.0", "a whole number"),
        ("depth", "٣", "a whole number"),
        ("strict", "maybe", "strict: want true or false, got 'maybe'"),
        ("ban", "soon", "ban: want a duration such as 30s, 10m, 2h or 1d, from 1s to 1d, got 'soon'"),
        ("ban", "2d", "from 1s to 1d"),
        ("factor", "-1", "a number, at least 0"),
        ("factor", "nan", "a number"),
        ("mode", "2", "mode: want one of 0 (off), 1 (normal), got '2'"),
        ("colour", "green", "one of red (warm), blue (cold)"),
        ("greeting", "a\x1bb", "no control characters"),
        ("greeting", "x" * 4001, "at most 4000 characters"),
        ("agents", ",".join(["x"] * 1001), "words with commas"),
        ("hosts", "junk", "hosts: 'junk': want an address, a network such as"),
        ("hosts", "10.0.0.0/8, foo", "hosts: 'foo': want an address"),
        ("hosts", "192.0.2.1:5060", "without ports"),
        ("hosts", "0.0.0.0/0", "wider than a /8"),
        ("hosts", ",".join(["::"] * 1001), "addresses, networks or ranges"),
    ],
)
def test_a_wrong_value_is_refused_with_what_would_be_right(name, text, complaint):
    """The complaint names the option, what it wants and what it got."""
    with pytest.raises(BadRequest) as caught:
        SPECS[name].parse(text)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("spec", OPTIONS.values(), ids=str)
def test_every_number_has_a_unit(spec):
    """``options`` says of what there are so many; of a number that stands for a meaning it lists these."""
    if spec.kind in ("int", "float", "duration") and not spec.choices:
        assert spec.measured_in()


@pytest.mark.parametrize("spec", [spec for spec in OPTIONS.values() if spec.at_most], ids=str)
def test_defaults_go_together(spec):
    """So that whatever somebody set can be reset."""
    assert spec.default <= OPTIONS[spec.at_most].default
    assert spec.kind == OPTIONS[spec.at_most].kind


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("guardwhitelist", "junk"),
        ("guardpeers", "10.0.0.0/8, foo"),
        ("guardwhitelist", "0.0.0.0/0"),
        ("guardscanners", "sipvicious, a"),
        ("upperexpiremin", "5000"),
        ("upperexpire", "2h"),
        ("upperexpiremax", "60s"),
        ("guardaddressban", "2d"),
        ("guardbanmost", "60s"),
    ],
)
async def test_what_would_not_work_is_refused(name, text):
    """A slip in an address would leave somebody unprotected, one in a bound would change what others mean."""
    options = Options()
    with pytest.raises(BadRequest, match=name):
        await options.set(name, text)
    assert options.get(name) == OPTIONS[name].default


async def test_an_option_stays_on_its_side_of_another():
    """The complaint names the one that is in the way; in the other order both are accepted."""
    options = options_over(Kept())
    with pytest.raises(BadRequest) as caught:
        await options.set("short", "30")
    assert str(caught.value) == "short: 30 would be above long, which is 20; raise long first"
    await options.set("long", "40")
    await options.set("short", "30")
    with pytest.raises(BadRequest, match="long: 20 would be below short, which is 30; lower short first"):
        await options.reset("long")
    assert (options.get("short"), options.get("long")) == (30, 40)


async def test_values_that_two_nodes_set_at_once_are_told():
    """Each was right when it was set; who uses them takes what lies between."""
    options = options_over(Kept(short="50", long="40"))
    await options.reload()
    assert options.problems == ["short: 50 is above long, 40"]
    assert (options.get("short"), options.get("long")) == (50, 40)


def test_defaults_hold_until_something_is_set():
    """Every option has a value from the beginning; an unknown name is a mistake of the program."""
    options = options_over()
    assert options.get("depth") == 10
    assert not options.is_set("depth")
    with pytest.raises(KeyError):
        options.get("nonsense")


async def test_a_value_that_is_set_is_kept_and_told():
    """It is in force and stored in its normal form; subscribers hear of it once, and not when it stays."""
    store, told = Kept(), []
    options = options_over(store)
    end = options.subscribe(told.append)
    assert await options.set("BAN", "600") == 600.0
    assert (options.get("ban"), store.texts, options.is_set("ban")) == (600.0, {"ban": "10m"}, True)
    await options.set("ban", "10m")
    assert told == ["ban"]
    end()
    await options.reset("ban")
    assert (options.get("ban"), store.texts, told) == (300.0, {}, ["ban"])


async def test_an_unknown_name_gets_the_nearest():
    """A typing mistake is answered with what was probably meant."""
    with pytest.raises(NotFound, match="did you mean 'colour'"):
        await options_over().set("color", "red")


async def test_what_cannot_be_stored_is_not_in_force():
    """While the database is away nothing changes."""
    store = Kept()
    store.error = StoreBusy("down")
    options = options_over(store)
    with pytest.raises(StoreBusy):
        await options.set("depth", "3")
    assert options.get("depth") == 10


async def test_a_reload_takes_what_others_set():
    """Values of other nodes come, those that they removed go; strange and broken ones do no harm."""
    store, told = Kept(depth="20", mode="7", of_a_newer_version="x"), []
    options = options_over(store)
    options.subscribe(told.append)
    await options.reload()
    assert (options.get("depth"), options.get("mode"), told) == (20, 1, ["depth"])
    assert options.problems == ["mode: want one of 0 (off), 1 (normal), got '7'; the default holds"]
    store.texts.clear()
    await options.reload()
    assert (options.get("depth"), options.problems, options.is_set("depth")) == (10, [], False)


async def test_a_slow_reload_does_not_bring_back_the_past():
    """A value set while a reload was reading holds."""
    store = Kept()
    options = options_over(store)
    store.gate = Deferred()
    loading = ensureDeferred(options.reload())
    gate, store.gate = store.gate, None
    await options.set("depth", "5")
    gate.callback(None)
    await loading
    assert options.get("depth") == 5


@pytest.mark.parametrize("kept", [True, False])
async def test_nobody_overwrites_what_he_has_not_seen(kept):
    """A version that is not the newest is refused and nothing changes; 0 stands for an option not set."""
    options = options_over(Kept() if kept else None)
    await options.set("depth", "3", version=0)
    first = options.version("depth")
    await options.set("depth", "4", version=first)
    for old in (0, first, 99):
        with pytest.raises(Stale, match="somebody changed it meanwhile"):
            await options.set("depth", "9", version=old)
    assert options.get("depth") == 4
    await options.set("depth", "5")
    await options.reset("depth")
    assert options.version("depth") == 0
