"""Compiled parts are used only with the source that they were made of."""

from pathlib import Path
from types import ModuleType
from zlib import crc32

from mizu.native import is_current


def test_a_part_of_another_source_is_not_current(tmp_path: Path) -> None:
    """After a pull the old part is left aside until it is built again; Python does its work meanwhile."""
    part = ModuleType("mizu._thing")
    source = tmp_path / "_thing.c"
    source.write_bytes(b"int x;")
    assert not is_current(part, tmp_path)  # older than the mark
    part.MADE_OF = crc32(b"int x;")  # type: ignore[attr-defined]
    assert is_current(part, tmp_path)
    source.write_bytes(b"int y;")
    assert not is_current(part, tmp_path)


def test_an_installation_without_sources_is_taken_as_it_is(tmp_path: Path) -> None:
    """Wheels bring both together."""
    assert is_current(ModuleType("mizu._thing"), tmp_path)
