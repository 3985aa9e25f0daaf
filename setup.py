"""What setup.cfg cannot say: the compiled parts.

They are optional: without a C compiler or Python's headers the build goes on, and Python does their work.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(f"mizu.{name}", [f"mizu/{name}.c"], optional=True) for name in ("_messages", "_datagrams")
    ]
)
