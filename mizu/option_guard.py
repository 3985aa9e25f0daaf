"""The global options of the guard. Those that ``mizu.guard.rules`` reads are named after its fields."""

from mizu.option_spec import OptionSpec

_SCANNER_LEAST_CHARACTERS = 3


def _no_short_words(words: tuple[str, ...]) -> str:
    """A letter or two are in the name of every phone."""
    if any(len(word) < _SCANNER_LEAST_CHARACTERS for word in words):
        return f"words of at least {_SCANNER_LEAST_CHARACTERS} characters"
    return ""


GUARD_OPTIONS = (
    OptionSpec(
        "guardagentfails",
        "int",
        5,
        "So many wrong passwords from one address and port ban that user agent; 0: no such bans.",
        unit="failures",
        least=0,
        most=100_000,
        group="guard",
    ),
    OptionSpec(
        "guardagentwindow",
        "duration",
        600.0,
        "Wrong passwords of a user agent are counted for so long from the first on.",
        least=1,
        most=86_400,
        group="guard",
    ),
    OptionSpec(
        "guardagentban",
        "duration",
        300.0,
        "The first ban of a user agent lasts so long.",
        least=1,
        most=2_592_000,
        group="guard",
        at_most="guardbanmost",
    ),
    OptionSpec(
        "guardaddressfails",
        "int",
        20,
        "So many failures from one address ban it: malformed messages, challenges never answered, wrong "
        "passwords; 0: addresses are not banned.",
        unit="failures",
        least=0,
        most=1_000_000,
        group="guard",
    ),
    OptionSpec(
        "guardaddresswindow",
        "duration",
        60.0,
        "Failures of an address are counted for so long from the first on.",
        least=1,
        most=86_400,
        group="guard",
    ),
    OptionSpec(
        "guardaddressban",
        "duration",
        600.0,
        "The first ban of an address lasts so long.",
        least=1,
        most=2_592_000,
        group="guard",
        at_most="guardbanmost",
    ),
    OptionSpec(
        "guardnumberfails",
        "int",
        60,
        "So many calls to numbers that nobody has ban the address they come from, within the time of "
        "guardaddresswindow; carriers are not counted; 0: nobody is banned for it.",
        unit="calls",
        least=0,
        most=1_000_000,
        group="guard",
    ),
    OptionSpec(
        "guardoptionsfails",
        "int",
        200,
        "So many OPTIONS of one address within guardaddresswindow ban it; 0: nobody is banned for it.",
        unit="requests",
        least=0,
        most=1_000_000,
        group="guard",
    ),
    OptionSpec(
        "guardnetworkaddresses",
        "int",
        5,
        "So many banned addresses of a network ban all of it; 0: networks are not banned.",
        unit="addresses",
        least=0,
        most=65_536,
        group="guard",
    ),
    OptionSpec(
        "guardnetworkprefix4",
        "int",
        24,
        "What is a network in IPv4.",
        unit="bits",
        least=16,
        most=32,
        group="guard",
    ),
    OptionSpec(
        "guardnetworkprefix6",
        "int",
        48,
        "What is a network in IPv6, where an address means a /64.",
        unit="bits",
        least=32,
        most=64,
        group="guard",
    ),
    OptionSpec(
        "guardnetworkban",
        "duration",
        600.0,
        "The first ban of a network lasts so long.",
        least=1,
        most=2_592_000,
        group="guard",
        at_most="guardbanmost",
    ),
    OptionSpec(
        "guardbanmost",
        "duration",
        86_400.0,
        "Each ban lasts twice as long as the one before, up to this.",
        least=1,
        most=31_536_000,
        group="guard",
    ),
    OptionSpec(
        "guardremember",
        "duration",
        86_400.0,
        "A ban within so long after the end of the one before is a repetition.",
        least=0,
        most=31_536_000,
        group="guard",
    ),
    OptionSpec(
        "guardunprovenban",
        "duration",
        60.0,
        "An address that never proved to be real, so that the messages may be somebody else's, is banned for "
        "so long, never with its network; 0: not at all.",
        least=0,
        most=60,
        group="guard",
    ),
    OptionSpec(
        "guardunprovenrate",
        "int",
        500,
        "So many messages a second of a known address come through while it is banned for what somebody else "
        "may have sent; 0: only those that prove their address.",
        unit="messages/s",
        least=0,
        most=1_000_000,
        group="guard",
    ),
    OptionSpec(
        "guardunprovenpause",
        "duration",
        5.0,
        "Of an address that is banned for what somebody else may have sent, a message that is repeated as "
        "SIP clients do comes through, and the same one again not before this time.",
        least=1,
        most=60,
        group="guard",
    ),
    OptionSpec(
        "guardknownfactor",
        "int",
        10,
        "Addresses where somebody was authenticated lately, and those of trunks, SIP servers and traffic "
        "senders, may fail so many times as often.",
        unit="times",
        least=1,
        most=10_000,
        group="guard",
    ),
    OptionSpec(
        "guardknown",
        "duration",
        3600.0,
        "For so long after a right password or an accepted request an address counts as known.",
        least=0,
        most=2_592_000,
        group="guard",
    ),
    OptionSpec(
        "guardpeers",
        "addresses",
        (),
        "Addresses and networks that may fail guardknownfactor times as often, besides those of trunks, SIP "
        "servers, gateways and traffic senders, which are known from the routers and accounts.",
        group="guard",
    ),
    OptionSpec(
        "guardwhitelist",
        "addresses",
        ("127.0.0.1", "::1"),
        "Addresses and networks that are never banned and never slowed down, besides those of the command "
        "'whitelist'.",
        group="guard",
    ),
    OptionSpec(
        "guardaccountfails",
        "int",
        20,
        "After so many wrong passwords for one account, from wherever, they are checked at a pace only; "
        "phones that are registered notice nothing; 0: never.",
        unit="failures",
        least=0,
        most=1_000_000,
        group="guard",
    ),
    OptionSpec(
        "guardaccountwindow",
        "duration",
        600.0,
        "Wrong passwords of an account are counted for so long from the first on.",
        least=1,
        most=86_400,
        group="guard",
    ),
    OptionSpec(
        "guardaccountpause",
        "duration",
        5.0,
        "While an account's password is being guessed one is checked in this time; the others are challenged "
        "again.",
        least=0,
        most=3600,
        group="guard",
    ),
    OptionSpec(
        "guardrate",
        "int",
        0,
        "Messages from one address that are read in a second, twice as many in a burst; the others are "
        "dropped. guardknownfactor times as many from known addresses, any number from the white list; "
        "0: any number from everybody.",
        unit="messages/s",
        least=0,
        most=1_000_000,
        group="guard",
    ),
    OptionSpec(
        "guardscanners",
        "list",
        ("friendly-scanner", "sipvicious", "sundayddr", "sipcli", "sip-scan", "sipscan", "iwar", "pplsip"),
        "Requests whose User-Agent has one of these words are dropped unread; empty: none.",
        group="guard",
        check=_no_short_words,
    ),
)
