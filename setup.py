"""What setup.cfg cannot say: the compiled parts.

They are optional: without a C compiler or Python's headers the build goes on, and Python does their work.
"""

from pathlib import Path
from zlib import crc32

from setuptools import Extension, setup


def compiled(name: str) -> Extension:
    """A part that knows which source it was made of, so that :mod:`mizu.native` does not use an old one."""
    source = f"mizu/{name}.c"
    made_of = crc32((Path(__file__).parent / source).read_bytes())
    return Extension(f"mizu.{name}", [source], optional=True, define_macros=[("MADE_OF", f"{made_of}u")])


setup(ext_modules=[compiled("_messages"), compiled("_datagrams")])
