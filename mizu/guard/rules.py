"""Thresholds, windows and ban times: the global options ``guard...`` as one value. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Rules:
    """What is too much, and what follows. The defaults are those of the options of the same meaning."""

    agent_fails: int = 5  #: wrong passwords of one ip:port; 0: no bans of user agents
    agent_window_s: float = 600.0
    agent_ban_s: float = 300.0
    address_fails: int = 20  #: failures of any kind of one address; 0: no bans of addresses
    address_window_s: float = 60.0
    address_ban_s: float = 600.0
    number_fails: int = 60  #: calls to numbers that nobody has; 0: no bans
    options_fails: int = 200  #: OPTIONS of one address; 0: no bans
    network_addresses: int = 5  #: banned addresses that make their network bad; 0: no bans of networks
    network_prefix4: int = 24
    network_prefix6: int = 48
    network_ban_s: float = 600.0
    ban_most_s: float = 86_400.0
    remember_s: float = 86_400.0
    unproven_ban_s: float = 60.0
    unproven_rate: int = 500  #: messages a second of a known address while it is banned in doubt
    unproven_pause_s: float = 5.0  #: between two repeated requests of one that is not known
    known_factor: int = 10
    known_s: float = 3600.0
    account_fails: int = 20  #: wrong passwords of one account; 0: accounts are not slowed down
    account_window_s: float = 600.0
    account_pause_s: float = 5.0
    rate: int = 0  #: messages a second of one address before they are parsed; 0: any number


def option_name(field: str) -> str:
    """The option that sets a field: ``agent_ban_s`` is ``guardagentban``."""
    return "guard" + field.removesuffix("_s").replace("_", "")


def rules_of(get: Callable[[str], Any]) -> Rules:
    """The rules that the options say. ``get``: ``Options.get``."""
    return Rules(**{field.name: get(option_name(field.name)) for field in fields(Rules)})
