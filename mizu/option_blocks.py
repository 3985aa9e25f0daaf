"""The global options of accounts, registration, identity and operators, a block for each part."""

from mizu.option_spec import OptionSpec

ACCOUNT_OPTIONS = (
    OptionSpec(
        "maxresellers",
        "int",
        10,
        "Levels of ownership below the top: how deep resellers may have resellers.",
        unit="levels",
        least=1,
        most=100,
        source="original",
        group="accounts",
    ),
    OptionSpec(
        "resellernumbermin",
        "int",
        4,
        "Fewest digits of numbers that operators limited to some accounts may make usernames of. Numbers of "
        "the table that they may give out are theirs in any case.",
        unit="digits",
        least=1,
        most=64,
        group="accounts",
        at_most="resellernumbermax",
    ),
    OptionSpec(
        "resellernumbermax",
        "int",
        7,
        "Most digits of such numbers. Longer ones may be dialled to reach somebody else: emergency calls, "
        "numbers of the public network.",
        unit="digits",
        least=1,
        most=64,
        group="accounts",
    ),
    OptionSpec(
        "enforcestrongauth",
        "bool",
        True,
        "Refuse accounts that anybody can use: authorization type 0 (open relay) never matches.",
        source="original",
        group="accounts",
    ),
    OptionSpec(
        "sipaccount_maxfails",
        "int",
        30,
        "Failed calls in a row after which an account at a SIP server is not used any more.",
        unit="calls",
        least=1,
        most=1_000_000,
        group="accounts",
    ),
)

REGISTRATION_OPTIONS = (
    OptionSpec(
        "upperexpire",
        "duration",
        300.0,
        "Time that a registration lasts when the phone asks for none, or for one out of bounds.",
        least=10,
        most=86_400,
        source="original",
        group="registration",
        at_most="upperexpiremax",
    ),
    OptionSpec(
        "upperexpiremin",
        "duration",
        60.0,
        "Shortest registration that is accepted as asked for.",
        least=1,
        most=86_400,
        source="original",
        group="registration",
        at_most="upperexpire",
    ),
    OptionSpec(
        "upperexpiremax",
        "duration",
        3600.0,
        "Longest registration that is accepted as asked for.",
        least=10,
        most=604_800,
        source="original",
        group="registration",
    ),
    OptionSpec(
        "userofflinemin",
        "int",
        60,
        "A user who negotiated no registration time is taken as offline after so long.",
        unit="minutes",
        least=1,
        most=10_080,
        source="original",
        group="registration",
    ),
    OptionSpec(
        "sendbackregcontact",
        "int",
        2,
        "What the answer to a REGISTER repeats of its Contact.",
        choices={
            0: "nothing",
            1: "the address without parameters",
            2: "the address with the expiry that holds",
            3: "exactly what came",
        },
        source="original",
        group="registration",
    ),
)

IDENTITY_OPTIONS = (
    OptionSpec(
        "parseidentity",
        "int",
        1,
        "What is done with P-Asserted-Identity, P-Preferred-Identity and Remote-Party-ID of accounts that "
        "are trusted to say who calls; of others they are never believed.",
        choices={
            0: "ignored",
            1: "read",
            2: "the caller number is taken from them",
            3: "the caller number and name are taken from them",
        },
        source="original",
        group="identity",
    ),
    OptionSpec(
        "untrustedidentity",
        "choice",
        "replace",
        "What is done with a call or message of an account that is not trusted to say who calls, when From, "
        "P-Asserted-Identity, P-Preferred-Identity, Remote-Party-ID or Diversion names somebody else.",
        choices={"replace": "the called party sees the account", "refuse": "answered 403"},
        group="identity",
    ),
    OptionSpec(
        "parsesipdisplayname",
        "int",
        1,
        "What the display name of From is used for.",
        choices={
            0: "nothing",
            1: "the caller's name",
            2: "the name shown to the called party",
            3: "also to find the account of a call, of auth_type 5 or 7",
        },
        source="original",
        group="identity",
    ),
)

API_OPTIONS = (
    OptionSpec(
        "auditkeepdays",
        "int",
        730,
        "Entries of the audit list are deleted after so long; 0: never.",
        unit="days",
        least=0,
        most=36_500,
        group="operators",
    ),
    OptionSpec(
        "tokendays",
        "int",
        365,
        "A token of an operator expires after so long, unless 'tokens add' says otherwise; 0: never.",
        unit="days",
        least=0,
        most=36_500,
        group="operators",
    ),
)
