"""Errors raised on purpose. Each says how SIP and HTTP answer when it reaches them."""


class MizuError(Exception):
    """Parent of every error raised on purpose. Its text is written for the person who reads it."""

    sip_status: int = 500  #: answer when it reaches a SIP transaction
    http_status: int = 500  #: answer when it reaches a web route or the console
    code: str = "internal"  #: stable word for logs, CDRs and HTTP; never reworded


class ConfigError(MizuError):
    """One or more settings are wrong. ``problems`` has one sentence for each, with file and key."""

    code = "config"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoreBusy(MizuError):
    """The database did not answer in time or is down; nothing was changed. Try again later."""

    sip_status, http_status, code = 503, 503, "store_busy"
    retry_after_s = 5  #: what ``Retry-After`` says


class OutcomeUnknown(MizuError):
    """
    The connection to the database was lost while a change was being committed, and it cannot be told yet
    whether it was made. Look before you repeat it.

    :param mark: by what the store finds out later.
    """

    sip_status, http_status, code = 503, 503, "outcome_unknown"

    def __init__(self, mark: object) -> None:
        super().__init__(
            "the connection to the database was lost while this was being committed; whether it was made is "
            "not known yet: look before you repeat it, the audit list has it as ok if it was"
        )
        self.mark = mark


class Overloaded(MizuError):
    """A table or queue is at its configured limit; nothing was changed. Try again later."""

    sip_status, http_status, code = 503, 503, "overloaded"
    retry_after_s = 5


class BadRequest(MizuError):
    """What the user sent cannot be understood; the text says what is wrong."""

    sip_status, http_status, code = 400, 400, "bad_request"


class NotFound(MizuError):
    """The thing named does not exist."""

    sip_status, http_status, code = 404, 404, "not_found"


class Conflict(MizuError):
    """The thing exists already, or somebody changed it meanwhile."""

    sip_status, http_status, code = 409, 409, "conflict"


class Stale(Conflict):
    """Somebody changed the thing since the version that the caller has seen; nothing was changed."""

    http_status, code = 412, "stale"


class Unauthorized(MizuError):
    """No valid token came with the request."""

    sip_status, http_status, code = 401, 401, "unauthorized"


class CallerMismatch(MizuError):
    """A request could come from more than one account; nobody can say who pays for it."""

    sip_status, http_status, code = 403, 403, "caller_mismatch"

    def __init__(self) -> None:
        super().__init__("Caller Mismatch")


class Forbidden(MizuError):
    """The caller is known but may not do this."""

    sip_status, http_status, code = 403, 403, "forbidden"


class CallRefused(MizuError):
    """A router or an admission rule refuses the call; ``sip_status`` and ``code`` say why."""

    http_status, code = 409, "call_refused"

    def __init__(self, sip_status: int, code: str, text: str = "") -> None:
        super().__init__(text or code)
        self.sip_status = sip_status
        self.code = code
