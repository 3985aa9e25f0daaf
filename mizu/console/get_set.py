"""A pair of commands alike for every kind of record: ``get`` shows one, ``set`` changes its few fields."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mizu.console.arguments import Argument
from mizu.console.table import Command, CommandResult, Invocation
from mizu.console.versions import version_argument
from mizu.errors import BadRequest
from mizu.model import Change

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GetSet(Generic[T]):
    """
    The commands ``FAMILY get KEY`` and ``FAMILY set KEY --FIELD VALUE ... [--version N]``.

    What ``set`` leaves out stays; ``-`` for an account means none.
    """

    family: str  #: first word of the commands
    noun: str  #: what it is, in their help
    item: str  #: member of the result
    key: Argument
    fields: tuple[Argument, ...]  #: options of ``set``, at least one of which must be given
    set_help: str
    set_examples: tuple[str, ...]
    set_scoped: bool  #: do operators limited to some accounts change it?
    find: Callable[[Invocation], Awaitable[T]]
    change: Callable[[Invocation], Awaitable[tuple[T, T]]]  #: before and after
    page: Callable[[T], tuple[str, Sequence[tuple[str, str]]]]  #: name, and facts for people
    shown: Callable[[T], Mapping[str, Any]]  #: as JSON
    changed: Callable[[T, T], Change]  #: for the audit list

    def commands(self) -> tuple[Command, Command]:
        """Both, for the table."""
        example = self.set_examples[0].split()[2]
        return (
            Command(
                name=f"{self.family} get",
                help=f"show a {self.noun}",
                permission="accounts.read",
                run=self._get,
                arguments=(self.key,),
                examples=(f"{self.family} get {example}",),
                scoped=True,
            ),
            Command(
                name=f"{self.family} set",
                help=self.set_help,
                permission="accounts.write",
                run=self._set,
                arguments=(
                    self.key,
                    *self.fields,
                    version_argument(f"the {self.noun}", f"{self.family} get"),
                ),
                details=f"With --version nothing is changed when somebody else changed the {self.noun} "
                "meanwhile.",
                examples=self.set_examples,
                changes=True,
                atomic=True,
                scoped=self.set_scoped,
            ),
        )

    async def _get(self, call: Invocation) -> CommandResult:
        return self._told(await self.find(call))

    async def _set(self, call: Invocation) -> CommandResult:
        if all(call.values[one.name] is None for one in self.fields):
            raise BadRequest(f"nothing to change: give {' or '.join(f'--{one.name}' for one in self.fields)}")
        before, after = await self.change(call)
        return self._told(after, *([self.changed(before, after)] if before != after else ()))

    def _told(self, one: T, *changes: Change) -> CommandResult:
        name, facts = self.page(one)
        lines = [name, *(f"  {what:8} {text}".rstrip() for what, text in facts)]
        return CommandResult(lines, {self.item: self.shown(one)}, changes)


def account_given(call: Invocation, name: str) -> str | None:
    """The account that an option of ``set`` names; empty: none (``-``); ``None``: it stays."""
    who = call.values[name]
    return None if who is None else "" if who == "-" else str(who)
