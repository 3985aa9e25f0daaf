from typing import Any

BATCH: int

def receive(fd: int, /) -> list[tuple[bytes, tuple[str, int]]]: ...
def send(
    fd: int, family: int, messages: list[tuple[bytes, tuple[str, int], Any]], /
) -> list[tuple[int, int]]: ...
