"""A public fake of the location store."""

from collections.abc import Sequence

from zope.interface import implementer

from mizu.errors import StoreBusy
from mizu.interfaces import ILocationStore
from mizu.model import Binding


@implementer(ILocationStore)
class FakeLocationStore:
    """
    ``ILocationStore`` in a dictionary.

    :ivar rows: bindings by address of record, as they would be after a restart.
    :ivar puts: how often ``put`` was called.
    :ivar busy: raise ``StoreBusy`` from ``load``; ``put`` never fails.
    """

    def __init__(self, *bindings: Binding) -> None:
        self.rows: dict[str, tuple[Binding, ...]] = {}
        self.puts = 0
        self.busy = False
        for binding in bindings:
            self.rows[binding.aor] = (*self.rows.get(binding.aor, ()), binding)

    async def load(self) -> Sequence[Binding]:
        if self.busy:
            raise StoreBusy("the database does not answer")
        return [binding for bindings in self.rows.values() for binding in bindings]

    def put(self, aor: str, bindings: Sequence[Binding]) -> None:
        self.puts += 1
        if bindings:
            self.rows[aor] = tuple(bindings)
        else:
            self.rows.pop(aor, None)
