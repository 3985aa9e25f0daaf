"""Session descriptions (RFC 8866): read what a switch needs, change addresses, keep every other line.

Tolerant: lines that are not understood are kept as they came. Nothing here raises on strange input.
"""

from dataclasses import dataclass

_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")


@dataclass(frozen=True, slots=True)
class Media:
    """One ``m=`` section."""

    kind: str  #: ``audio``, ``video``, ...
    port: int  #: 0: refused or switched off
    proto: str  #: ``RTP/AVP``
    formats: tuple[str, ...]
    direction: str  #: ``sendrecv``, ``sendonly``, ``recvonly`` or ``inactive``
    address: str  #: where it wants to receive; the session's when the section has none; may be empty


class Sdp:
    """A session description as lines of text (UTF-8 with ``surrogateescape``)."""

    __slots__ = ("lines",)

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    @classmethod
    def parse(cls, body: bytes) -> "Sdp":
        """Lines may end in CRLF or LF; empty ones are dropped."""
        text = body.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
        return cls([line for line in text.split("\n") if line])

    def to_bytes(self) -> bytes:
        """Every line ends in CRLF."""
        return "".join([line + "\r\n" for line in self.lines]).encode("utf-8", "surrogateescape")

    # ------------------------------------------------------------ reading

    @property
    def addresses(self) -> list[str]:
        """Every connection address, in order, without repetition."""
        found: dict[str, None] = {}
        for line in self.lines:
            if line[:2] == "c=" and (address := _address(line)):
                found[address] = None
        return list(found)

    @property
    def media(self) -> list[Media]:
        """Every media section."""
        direction, address = "sendrecv", ""
        sections: list[list[str]] = []
        for line in self.lines:
            if line[:2] == "m=":
                sections.append([line])
            elif sections:
                sections[-1].append(line)
            elif line[:2] == "c=":
                address = _address(line)
            elif line[:2] == "a=" and line[2:].strip() in _DIRECTIONS:
                direction = line[2:].strip()
        return [_media(section, direction, address) for section in sections]

    @property
    def version(self) -> int | None:
        """Version of the session (third word of ``o=``); ``None``: not to be found."""
        at, words = self._origin()
        return int(words[2]) if at >= 0 else None

    # ------------------------------------------------------------ changing

    def rewrite_address(self, host: str) -> bool:
        """
        Put ``host`` (numeric) where the sender wants to receive media: every ``c=`` but those that say "on
        hold" (``0.0.0.0``, RFC 2543) or are multicast, ``o=``, and the address of ``a=rtcp:`` (RFC 3605).

        :return: whether anything changed.
        """
        family = "IP6" if ":" in host else "IP4"
        changed = False
        for at, line in enumerate(self.lines):
            words = line.split(" ")
            if line[:2] == "c=" and len(words) >= 3:
                if _keep(words[2]):
                    continue
                words[1:3] = [family, host]
            elif line[:2] == "o=" and len(words) >= 6:
                words[4:6] = [family, host]
            elif line[:7] == "a=rtcp:" and len(words) >= 4:
                words[2:4] = [family, host]
            else:
                continue
            new = " ".join(words)
            if new != line:
                self.lines[at] = new
                changed = True
        return changed

    def bump_version(self, by: int = 1) -> None:
        """Raise the version in ``o=``, as a changed description must (RFC 3264 8)."""
        at, words = self._origin()
        if at >= 0:
            words[2] = str(int(words[2]) + by)
            self.lines[at] = " ".join(words)

    def _origin(self) -> tuple[int, list[str]]:
        for at, line in enumerate(self.lines):
            if line[:2] == "o=":
                words = line.split(" ")
                if len(words) >= 6 and words[2].isascii() and words[2].isdigit() and len(words[2]) <= 20:
                    return at, words
                break
        return -1, []


def _keep(address: str) -> bool:
    """On hold by address, or multicast (with its TTL)."""
    if address in ("0.0.0.0", "::") or "/" in address:  # noqa: S104 - compared, not bound
        return True
    first = address.partition(".")[0]
    return first.isdigit() and first.isascii() and len(first) == 3 and 224 <= int(first) <= 239


def _address(line: str) -> str:
    words = line.split()
    return words[2].partition("/")[0] if len(words) >= 3 else ""


def _media(section: list[str], direction: str, address: str) -> Media:
    words = section[0][2:].split()
    words += [""] * (3 - len(words))
    for line in section[1:]:
        if line[:2] == "c=":
            address = _address(line) or address
        elif line[:2] == "a=" and line[2:].strip() in _DIRECTIONS:
            direction = line[2:].strip()
    port = words[1].partition("/")[0]
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    return Media(words[0], number, words[2], tuple(words[3:]), direction, address)
