"""The compiled parts, each with the same answers as the Python that it stands for; ``None``: Python is used.

They are optional: built by ``pip install`` when a C compiler and Python's headers are there. This is the only
place that chooses. ``MIZU_PURE_PYTHON=1`` in the environment leaves them aside, and a part that was made of
another source than the one beside it is not used.
"""

import os
from pathlib import Path
from types import ModuleType
from zlib import crc32

__all__ = ["datagrams", "in_use", "messages"]


def is_current(part: ModuleType, place: Path = Path(__file__).parent) -> bool:
    """Was it made of the source that lies here? True where there is none: they were installed together."""
    try:
        source = (place / f"{part.__name__.rpartition('.')[2]}.c").read_bytes()
    except OSError:
        return True
    return getattr(part, "MADE_OF", None) == crc32(source)


if os.environ.get("MIZU_PURE_PYTHON", "0") in {"", "0"}:
    try:
        from mizu import _messages as messages

        if not is_current(messages):
            messages = None  # type: ignore[assignment]
    except ImportError:  # not built here
        messages = None  # type: ignore[assignment]
    try:
        from mizu import _datagrams as datagrams

        if not is_current(datagrams):
            datagrams = None  # type: ignore[assignment]
    except ImportError:  # not built here, or a system without recvmmsg
        datagrams = None  # type: ignore[assignment]
else:
    messages = datagrams = None  # type: ignore[assignment]


def in_use() -> dict[str, bool]:
    """Which of the compiled parts are used: ``compiled`` of ``/status``."""
    return {"messages": messages is not None, "datagrams": datagrams is not None}
