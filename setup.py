"""What setup.cfg cannot say: the compiled parts.

They are optional: without a C compiler or Python's headers the build goes on, and Python does their work.

``MIZU_COMPILE_CALLS=1`` compiles the Python of transactions and calls as well, by mypyc (of the package
mypy): a call then takes about a sixth less. The modules behave the same, but cannot be changed without
building again, so this is for servers, not for a tree that somebody works in.
"""

import os

from setuptools import Extension, setup

#: Plain state machines: much calling, no I/O, nothing that tests or plugins replace from outside.
CALLS = (
    *(f"sip/{name}" for name in ("timers", "transaction_tables", "transaction", "transaction_client")),
    *(f"sip/{name}" for name in ("transactions", "outgoing", "dialog", "session", "wire", "uas")),
    *(f"switch/{name}" for name in ("call_table", "call", "leg", "caller", "callee", "sent", "methods")),
    *(f"switch/{name}" for name in ("refer", "fields", "invitation", "admission", "ways", "b2bua", "core")),
)


def of_calls() -> list[Extension]:
    if os.environ.get("MIZU_COMPILE_CALLS", "0") in {"", "0"}:
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 - only who asks for it needs it

    made: list[Extension] = mypycify([f"mizu/{name}.py" for name in CALLS], opt_level="3", debug_level="0")
    return made


setup(
    ext_modules=[
        *(
            Extension(f"mizu.{name}", [f"mizu/{name}.c"], optional=True)
            for name in ("_messages", "_datagrams")
        ),
        *of_calls(),
    ]
)
