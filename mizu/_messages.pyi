from collections.abc import Callable, Iterable

from mizu.sip.headers import CSeq, NameAddr, Via
from mizu.sip.message import Field, Request, Response

def address(value: str, /) -> NameAddr | None: ...
def answer(
    request: Request,
    start: str,
    to_tag: str | None,
    fields: Iterable[tuple[str, ...]],
    body: bytes,
    record_route: bool,
    /,
) -> bytes | None: ...
def bind(which: str, template: object, /) -> None: ...
def bind_names(
    keys: dict[str, str],
    single: frozenset[str],
    methods: Iterable[str],
    via: Callable[[str], Via],
    cseq: Callable[[str], CSeq],
    bad_message: type[Exception],
    /,
) -> None: ...
def digest_parameters(value: str, /) -> dict[str, str] | None: ...
def forward(request: Request, via: str, contact: str, /) -> bytes | None: ...
def parse_plain(
    data: bytes, message_bytes: int, header_lines: int, line_bytes: int, stream: bool, /
) -> Request | Response | None: ...
def stamp(request: Request, host: str, port: int, /) -> int | None: ...
def to_bytes(start: str, fields: list[Field], length: str, body: bytes, /) -> bytes | None: ...
