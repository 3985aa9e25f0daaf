"""
Who a request comes from, by its address, port, number and names: ``auth_type`` 0 to 3 and 5 to 10. Pure.

What is matched by an address or a tech prefix (1, 2, 3, 6, 7, 9) comes first, then a username that anybody
may claim (5), then the open relay (0). Two accounts that match equally well are a "caller mismatch". A
REGISTER is about one account, the one its To names, so only that one can match.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from mizu.accounts.addresses import AddressEntry, Network, unmapped
from mizu.accounts.proofs import BOTH, BY_ADDRESS, read
from mizu.auth.prefix_table import PrefixTable
from mizu.errors import CallerMismatch
from mizu.model import AuthQuery, AuthRule, AuthType

NAMES_OF_ADDRESS_MAX = 64  #: addresses of one domain name that are used


@dataclass(frozen=True, slots=True)
class Place:
    """One address or network of one rule."""

    rule: AuthRule
    network: Network
    port: int
    name: str = ""  #: the domain name it comes from


class RuleIndex:
    """
    Rules of accounts, found by what a request shows.

    :param limit: rules held; more are left out, and :attr:`left_out` counts them.
    """

    def __init__(self, limit: int = 200_000) -> None:
        self._limit = limit
        self._rules: dict[str, AuthRule] = {}
        self._places: dict[str, list[Place]] = {}
        self._named: dict[str, dict[str, list[AddressEntry]]] = {}  # domain name -> username -> entries
        self._answers: dict[str, tuple[str, ...]] = {}  # domain name -> addresses
        self._prefixes: dict[str, set[str]] = {}
        self._relays: set[str] = set()
        self._claimed = 0  # rules for which any source will do
        self.table: PrefixTable[Place] = PrefixTable()
        self.left_out = 0
        #: username -> sentences on what in its rule can match nothing
        self.problems: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def get(self, username: str) -> AuthRule | None:
        """The rule of an account."""
        return self._rules.get(username)

    # ------------------------------------------------------------ what it knows

    def replace(self, username: str, rule: AuthRule | None) -> bool:
        """From now on this is the rule of that account; ``None``: it has none. :return: it was another."""
        if self._rules.get(username) == rule:
            return False
        self._discard(username)
        if rule is None or rule.auth_type is AuthType.DIGEST:
            return True
        if len(self._rules) >= self._limit:
            self.left_out += 1
            return True
        self._rules[username] = rule
        entries, problems = read(rule)
        if problems:
            self.problems[username] = problems
        if rule.auth_type in BY_ADDRESS:
            self._add_places(rule, entries)
        elif rule.auth_type is AuthType.TECH_PREFIX:
            if rule.tech_prefix:
                self._prefixes.setdefault(rule.tech_prefix, set()).add(username)
                self._claimed += 1
        else:
            self._claimed += 1
            if rule.auth_type is AuthType.OPEN_RELAY:
                self._relays.add(username)
        return True

    def replace_all(self, rules: Sequence[AuthRule]) -> list[str]:
        """These and no others. :return: usernames whose rule has changed."""
        new = {rule.username: rule for rule in rules}
        self.left_out = 0
        gone = [username for username in self._rules if username not in new]
        changed = [username for username in gone if self.replace(username, None)]
        return changed + [username for username, rule in new.items() if self.replace(username, rule)]

    def names(self) -> Iterable[str]:
        """Domain names whose addresses are wanted."""
        return list(self._named)

    def resolved(self, name: str, addresses: Sequence[str]) -> list[str]:
        """The addresses of a domain name are these now. :return: usernames for which that is new."""
        found = tuple(sorted(set(addresses)))[:NAMES_OF_ADDRESS_MAX]
        if name not in self._named or self._answers.get(name, ()) == found:
            return []
        self._answers[name] = found
        for username, entries in self._named[name].items():
            rule = self._rules[username]
            for place in [one for one in self._places[username] if one.name == name]:
                self._places[username].remove(place)
                self.table.remove(place.network, place)
            for entry in entries:
                self._add_named(rule, entry)
        return list(self._named[name])

    def _add_places(self, rule: AuthRule, entries: Iterable[AddressEntry]) -> None:
        self._places[rule.username] = []
        for entry in entries:
            if entry.name:
                self._named.setdefault(entry.name, {}).setdefault(rule.username, []).append(entry)
                self._add_named(rule, entry)
            for network in entry.networks:
                self._add_place(Place(rule, network, entry.port))

    def _add_named(self, rule: AuthRule, entry: AddressEntry) -> None:
        for address in self._answers.get(entry.name, ()):
            network = ip_network(unmapped(ip_address(address)))
            self._add_place(Place(rule, network, entry.port, entry.name))

    def _add_place(self, place: Place) -> None:
        self._places[place.rule.username].append(place)
        self.table.add(place.network, place)

    def _discard(self, username: str) -> None:
        rule = self._rules.pop(username, None)
        if rule is None:
            return
        self.problems.pop(username, None)
        for place in self._places.pop(username, ()):
            self.table.remove(place.network, place)
        if rule.auth_type in BY_ADDRESS:
            for name in [name for name, users in self._named.items() if username in users]:
                del self._named[name][username]
                if not self._named[name]:
                    del self._named[name]
                    self._answers.pop(name, None)
        elif rule.auth_type is not AuthType.TECH_PREFIX or rule.tech_prefix:
            self._claimed -= 1
            self._relays.discard(username)
            holders = self._prefixes.get(rule.tech_prefix)
            if holders is not None:
                holders.discard(username)
                if not holders:
                    del self._prefixes[rule.tech_prefix]

    # ------------------------------------------------------------ questions

    def may_match(self, source_host: str) -> bool:
        """Could a request from there, without credentials, be anybody's? Needs nothing of the request."""
        return self._claimed > 0 or (len(self.table) > 0 and bool(self.table.find(source_host)))

    def admits(self, username: str, source_host: str) -> bool:
        """Is that an address of this account, which has to prove a password as well (types 8 and 10)?"""
        return any(
            place.rule.username == username and place.rule.auth_type in BOTH
            for place in self.table.find(source_host)
        )

    def match(self, query: AuthQuery, *, open_relay: bool, by_display: bool = False) -> str | None:
        """
        Whose request this is, when it shows no password.

        :param open_relay: whether accounts of type 0 count.
        :param by_display: whether the display name of From may name the account (types 5 and 7), when its
            user part names none.
        :raise CallerMismatch: two accounts match.
        """
        if query.method == "REGISTER":
            return query.caller_number if self._registers(query, open_relay) else None
        username = self._claimed_by(query)
        if username is None and by_display and query.display_name:
            username = self._claimed_by(_as_displayed(query))
        if username is not None:
            return username
        if not open_relay or not self._relays:
            return None
        if len(self._relays) > 1:
            raise CallerMismatch
        return next(iter(self._relays))

    def _claimed_by(self, query: AuthQuery) -> str | None:
        """By address, tech prefix or name. :raise CallerMismatch:"""
        found = self._by_place(query) | self._by_prefix(query.called_number)
        if len(found) > 1:
            raise CallerMismatch
        if found:
            return found.pop()
        rule = self._rules.get(query.caller_number)
        return rule.username if rule is not None and rule.auth_type is AuthType.USERNAME else None

    def _registers(self, query: AuthQuery, open_relay: bool) -> bool:
        rule = self._rules.get(query.caller_number)
        if rule is None:
            return False
        if rule.auth_type is AuthType.USERNAME:
            return True
        if rule.auth_type is AuthType.OPEN_RELAY:
            return open_relay
        return rule.username in self._by_place(query)

    def _by_place(self, query: AuthQuery) -> set[str]:
        return {
            place.rule.username
            for place in self.table.find(query.source_host)
            if not refusal_of(place, query)
        }

    def _by_prefix(self, called: str) -> set[str]:
        found: set[str] = set()
        if self._prefixes:
            for length in range(1, min(len(called), 20) + 1):
                found |= self._prefixes.get(called[:length], set())
        return found

    def explain(self, query: AuthQuery, *, open_relay: bool, by_display: bool = False) -> list[str]:
        """Sentences on every rule that comes near this request. The parameters are those of :meth:`match`."""
        told = []
        for place in self.table.find(query.source_host):
            rule = place.rule
            where = f"{place.network.with_prefixlen}" + (f" ({place.name})" if place.name else "")
            what = refusal_of(place, query) or "matches"
            told.append(f"{where} is an address of {rule.username} (auth_type {int(rule.auth_type)}): {what}")
        if query.method != "REGISTER":
            told += [
                f"the called number begins with the tech prefix of {username} (auth_type 2): matches"
                for username in sorted(self._by_prefix(query.called_number))
            ]
        claimed = self._rules.get(query.caller_number)
        if claimed is not None and claimed.auth_type is AuthType.USERNAME:
            told.append(f"{claimed.username} needs no more than its name (auth_type 5)")
        elif claimed is not None and claimed.auth_type in BY_ADDRESS:
            places = ", ".join(str(place.network) for place in self.places_of(claimed.username)[:10])
            told.append(f"{claimed.username} sends from {places or 'nowhere: it has no address that counts'}")
        if by_display and query.display_name and query.method != "REGISTER":
            username = self._claimed_by(_as_displayed(query))
            told.append(f"its display name names {username or 'no account that could send it'}")
        for username in sorted(self._relays):
            state = "takes what nobody else does" if open_relay else "off: option enforcestrongauth is on"
            told.append(f"{username} is an open relay (auth_type 0): {state}")
        told += [f"{query.caller_number}: {one}" for one in self.problems.get(query.caller_number, ())]
        return told

    def places_of(self, username: str) -> Sequence[Place]:
        """The addresses of an account, those of its domain names included."""
        return self._places.get(username, ())


def _as_displayed(query: AuthQuery) -> AuthQuery:
    return replace(query, caller_number=query.display_name)


def refusal_of(place: Place, query: AuthQuery) -> str:
    """Why a request from that very address is not this account's, in words; empty: it is."""
    rule = place.rule
    if rule.auth_type in BOTH:
        return "it has to prove its password as well"
    if rule.auth_type is AuthType.IP_AND_TECH_PREFIX:
        if query.method == "REGISTER":
            return "a REGISTER has no called number, so no tech prefix"
        if not rule.tech_prefix or not query.called_number.startswith(rule.tech_prefix):
            return f"the called number does not begin with its tech prefix {rule.tech_prefix or '(none)'}"
    if rule.auth_type is AuthType.IP_AND_PORT:
        port = place.port or rule.port
        if not port or port != query.source_port:
            return f"its port is {port or '(none given)'}, not {query.source_port}"
    if rule.auth_type is AuthType.IP_AND_USERNAME and rule.username != query.caller_number:
        return f"the request claims to be {query.caller_number!r}, not {rule.username!r}"
    return ""
