"""The compiled parts, each with the same answers as the Python that it stands for; ``None``: Python is used.

They are optional: built by ``pip install`` when a C compiler and Python's headers are there. This is the only
place that chooses. ``MIZU_PURE_PYTHON=1`` in the environment leaves them aside.
"""

import os

__all__ = ["datagrams", "in_use", "messages"]

if os.environ.get("MIZU_PURE_PYTHON", "0") in {"", "0"}:
    try:
        from mizu import _messages as messages
    except ImportError:  # not built here
        messages = None  # type: ignore[assignment]
    try:
        from mizu import _datagrams as datagrams
    except ImportError:  # not built here, or a system without recvmmsg
        datagrams = None  # type: ignore[assignment]
else:
    messages = datagrams = None  # type: ignore[assignment]


def in_use() -> dict[str, bool]:
    """Which of the compiled parts are used: ``compiled`` of ``/status``."""
    return {"messages": messages is not None, "datagrams": datagrams is not None}
