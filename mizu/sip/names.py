"""Names: header spellings and compact forms (IANA "SIP Header Fields"), methods, reason phrases."""

_NAMES = """
Accept Accept-Contact Accept-Encoding Accept-Language Accept-Resource-Priority Alert-Info Allow Allow-
Events Answer-Mode Authentication-Info Authorization Call-ID Call-Info Contact Content-Disposition
Content-Encoding Content-ID Content-Language Content-Length Content-Type CSeq Date Diversion Encryption
Error-Info Event Expires Feature-Caps Flow-Timer From Geolocation Geolocation-Error Geolocation-Routing
Hide History-Info Identity Identity-Info Info-Package In-Reply-To Join Max-Breadth Max-Forwards MIME-
Version Min-Expires Min-SE Organization P-Access-Network-Info P-Answer-State P-Asserted-Identity
P-Asserted-Service P-Associated-URI P-Called-Party-ID P-Charging-Function-Addresses P-Charging-Vector
P-DCS-Trace-Party-ID P-Early-Media P-Media-Authorization P-Preferred-Identity P-Preferred-Service
P-Served-User P-Visited-Network-ID Path Permission-Missing Policy-Contact Policy-ID Priority Priv-Answer-
Mode Privacy Proxy-Authenticate Proxy-Authorization Proxy-Require RAck Reason Reason-Phrase Record-Route
Recv-Info Refer-Events-At Refer-Sub Refer-To Referred-By Reject-Contact Remote-Party-ID Replaces Reply-To
Request-Disposition Require Resource-Priority Response-Key Retry-After Route RSeq Security-Client
Security-Server Security-Verify Server Service-Route Session-Expires Session-ID SIP-ETag SIP-If-Match
Subject Subscription-State Supported Suppress-If-Match Target-Dialog Timestamp To Trigger-Consent
Unsupported User-Agent User-to-User Via Warning WWW-Authenticate
""".split()  # noqa: SIM905 - a column of quotes would hide the names

#: IANA's table of compact forms.
COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

_CANONICAL = {name.lower(): name for name in _NAMES}


def _spellings() -> dict[str, str]:
    """The usual spellings of every known name; anything else goes by :func:`header_key`'s slow way."""
    found: dict[str, str] = {}
    for key, name in _CANONICAL.items():
        for spelling in (name, key, name.upper(), name.title(), name.capitalize()):
            found[spelling] = key
    for letter, key in COMPACT.items():
        found[letter] = found[letter.upper()] = key
    return found


KEYS: dict[str, str] = _spellings()  #: spelling -> key


def header_key(name: str) -> str:
    """The key of a header name in any spelling: lower-case and long. Unknown names: lower-case."""
    key = KEYS.get(name)
    if key is None:
        key = name.strip(" \t").lower()
        key = COMPACT.get(key, key)
    return key


def canonical_name(key: str) -> str:
    """How we write a header name."""
    return _CANONICAL.get(key) or key.title()


#: Methods that some RFC defines (IANA "Methods"). A request with any other is answered 501, not 405.
METHODS = frozenset(
    {
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "PRACK",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "INFO",
        "REFER",
        "MESSAGE",
        "UPDATE",
    }
)

REASONS = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    417: "Unknown Resource-Priority",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    424: "Bad Location Information",
    425: "Bad Alert Message",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    436: "Bad Identity-Info",
    437: "Unsupported Certificate",
    438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    469: "Bad Info Package",
    470: "Consent Needed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    555: "Push Notification Service Not Supported",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}
_BY_CLASS = {
    1: "Session Progress",
    2: "OK",
    3: "Redirection",
    4: "Request Failure",
    5: "Server Failure",
    6: "Global Failure",
}


def reason_phrase(status: int) -> str:
    """The usual phrase of a status; of an unknown one, its class."""
    return REASONS.get(status) or _BY_CLASS.get(status // 100, "Unknown")
