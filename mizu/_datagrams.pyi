from typing import Any

MADE_OF: int
BATCH: int
SO_TIMESTAMPNS: int  #: as the socket module has others

def receive(fd: int, wait_ns: int, /) -> tuple[list[tuple[bytes, tuple[str, int]]], int]: ...
def send(
    fd: int, family: int, messages: list[tuple[bytes, tuple[str, int], Any]], /
) -> list[tuple[int, int]]: ...
