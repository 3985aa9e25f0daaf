"""Who may come in: brings together what is counted, what is banned, the database, other nodes and exports.

The rest of the server tells it what senders did (``login_failed``, ``challenged``, ``malformed``, ...); the
gate in front of the parser asks its tables; what operators want of it is in ``mizu.guard.desk``.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from mizu.errors import BadRequest
from mizu.guard.bans import GUARD, Ban, BanList
from mizu.guard.filter import Gate
from mizu.guard.follower import BanFollower, record_of
from mizu.guard.known import KnownHosts
from mizu.guard.peers import PeerTable
from mizu.guard.rules import rules_of
from mizu.guard.table import AddressTable
from mizu.guard.watch import Offence, Verdict, Watch
from mizu.interfaces import IAgentBanExport, IBanExport, IClock, IWhiteListExport
from mizu.model import TrustedAddress
from mizu.options import Options
from mizu.targets import Target, normal_host, parse_target, target_of

if TYPE_CHECKING:
    from mizu.sip.flow import Flow

#: What a whole office sends over one connection, now and then.
_HARMLESS = frozenset((Offence.USELESS, Offence.OPTIONS))

_log = Logger(namespace="mizu.guard")


class Doorman:
    """
    :param store: provides ``IBanStore`` and ``IBanAdministration``.
    :param registered_at: whether a username has a registered phone at an address (username, host).
    :param exports: told of bans of addresses and networks.
    :param limit: most bans, and senders counted.
    :param peers_max: addresses and networks of partners, see :meth:`peers_are`.
    """

    def __init__(
        self,
        options: Options,
        store: Any,
        reactor: Any,
        clock: IClock,
        *,
        registered_at: Callable[[str, str], bool],
        exports: Sequence[IBanExport] = (),
        limit: int = 100_000,
        peers_max: int = 200_000,
    ) -> None:
        self._options = options
        self.store = store
        self._clock = clock
        self._registered_at = registered_at
        self.exports: Sequence[IBanExport] = exports
        self._gate: Gate | None = None
        self.bans = BanList(limit)
        self.bans.on_evicted = self.export_end
        self.trusted = AddressTable()
        self.peers = PeerTable(peers_max)
        self._named = AddressTable()  # those of them that the option names
        self.known = KnownHosts()
        self.rules = rules_of(options.get)
        self.watch = Watch(self.rules, limit)
        self.trusted_by_command: list[TrustedAddress] = []  # the white list of the database
        self.trusted_by_option: list[TrustedAddress] = []
        self.database = BanFollower(self, reactor)
        self.banned_since_start = 0
        self.slowed = 0  #: logins not checked because the account's password is being guessed
        self._unsubscribe = options.subscribe(self._option_changed)
        self._options_changed()

    # ------------------------------------------------------------ what senders did

    def accepted(self, flow: "Flow", username: str, proved: bool) -> None:
        """
        A request from there was authorized.

        :param proved: it answered a challenge, or came over a connection. By address or name alone anybody
            could be let in who forges it.
        """
        if proved:
            self.proved(flow)
            self.watch.accepted(normal_host(flow.remote[0]))

    def proved(self, flow: "Flow") -> None:
        """
        Whoever is there hears what we send there: he used credentials or a tag that were sent to him, and
        he was let in. A ban in doubt of his address ends.
        """
        host = normal_host(flow.remote[0])
        self.known.add(host, self._clock.mono_s() + self.rules.known_s)
        if len(self.bans.doubtful) and host in self.bans.doubtful:
            self.bans.end_doubt(target_of(host))

    def proof_shown(self, host: str) -> None:
        """
        A message came through a ban in doubt because it has a nonce that was sent there. It is held against
        that address, which is real, until somebody there is accepted.
        """
        self._note_host(Offence.UNANSWERED, normal_host(host), 0, proven=True)

    def login_failed(self, flow: "Flow", username: str, code: str) -> None:
        """
        Credentials that will not do (``mizu.auth.request.FailureObserver``). A wrong password answers a
        challenge that was sent to this address, so the address is real.
        """
        if code in {"wrong_password", "unknown_user", "disabled"}:
            self.watch.account_failed(username, self._clock.mono_s())
            self.watch.answered(normal_host(flow.remote[0]))
            self._note(Offence.WRONG_PASSWORD, flow, proven=True)
        else:
            self._note(Offence.UNANSWERED, flow, proven=flow.reliable or code == "uri_mismatch")

    def challenged(self, flow: "Flow") -> None:
        """A challenge was sent there. It is held against the sender until he answers one."""
        self._note(Offence.UNANSWERED, flow, proven=flow.reliable)

    def malformed(self, flow: "Flow") -> None:
        """Something came from there that is not SIP."""
        self._note(Offence.MALFORMED, flow, proven=flow.reliable)

    def useless(self, flow: "Flow") -> None:
        """A request came from there that is refused whoever sends it, or a response to nothing."""
        self._note(Offence.USELESS, flow, proven=flow.reliable)

    def asked(self, flow: "Flow") -> None:
        """An OPTIONS from there was answered, as everybody's is."""
        self._note(Offence.OPTIONS, flow, proven=flow.reliable)

    def unknown_number(self, host: str, proved: bool) -> None:
        """
        An authorized call from there went to a number that nobody has.

        :param proved: as for :meth:`accepted`.
        """
        self._note_host(Offence.UNKNOWN_NUMBER, host, 0, proven=proved)

    def may_log_in(self, flow: "Flow", username: str) -> bool:
        """
        May a password be checked now? Not while the account's is being guessed, but for one now and then,
        and for the phones that are registered. One that may not counts as a wrong one of its sender.
        """
        now_s = self._clock.mono_s()
        watch = self.watch
        if not watch.is_slowed(username, now_s) or self._registered_at(username, flow.remote[0]):
            return True
        if watch.may_try(username, now_s):
            return True
        self.slowed += 1
        # He answers a challenge that was sent to him, so the address is real. Right or wrong counts as wrong:
        # if a right one did not, who is not banned after some guesses would know that it was among them.
        self.watch.answered(normal_host(flow.remote[0]))
        self._note(Offence.WRONG_PASSWORD, flow, proven=True)
        return False

    def try_in_s(self, username: str, host: str) -> float | None:
        """When a password of that account may be checked for this address, seconds; ``None``: at any time."""
        now_s = self._clock.mono_s()
        if not self.watch.is_slowed(username, now_s) or self._registered_at(username, host):
            return None
        return self.watch.next_try_in_s(username, now_s)

    def is_known(self, flow: "Flow") -> bool:
        """Was somebody authenticated there lately, or is it trusted? Then the address is no forged one."""
        host = flow.remote[0]
        # Not so a partner's, which may be anybody's who has an entry in DNS: what we send there has a limit.
        known = self.known.has(normal_host(host), self._clock.mono_s())
        return known or host in self._named or host in self.trusted

    def is_known_host(self, host: str) -> bool:
        """Was somebody authenticated there lately, or is it a trunk's? Such a host may fail more often."""
        host = normal_host(host)
        return self.known.has(host, self._clock.mono_s()) or host in self.peers

    def _note(self, offence: Offence, flow: "Flow", *, proven: bool) -> None:
        host, port = flow.remote
        self._note_host(offence, host, port, proven=proven)

    def _note_host(self, offence: Offence, host: str, port: int, *, proven: bool) -> None:
        host = normal_host(host)
        if host in self.trusted:
            return
        now_s, known = self._clock.mono_s(), self.is_known_host(host)
        if proven and known and offence in _HARMLESS:
            return  # keep-alives, and what is left of calls when a server was restarted
        try:
            verdict = self.watch.note(offence, host, port, now_s, proven=proven, known=known)
        except BadRequest:
            return  # no address that could be banned: a fake transport, a Unix socket
        if verdict is not None:
            self._execute(verdict)

    # ------------------------------------------------------------ banning

    def wall_s(self) -> float:
        """Now, as bans have it."""
        return self._clock.wall().timestamp()

    def _execute(self, verdict: Verdict) -> None:
        now_s = self.wall_s()
        times = self.bans.times(verdict.target, now_s) + 1 if verdict.proven else 1
        duration_s = min(verdict.first_s * 2 ** min(times - 1, 40), verdict.most_s)
        ban = Ban(verdict.target, verdict.reason, GUARD, now_s, now_s + duration_s, times, verdict.proven)
        if not self.bans.add(ban):
            return
        self.banned_since_start += 1
        if verdict.proven:
            _log.info(
                "banned {target} for {duration_s:.0f} s: {reason}",
                target=verdict.target.text,
                duration_s=duration_s,
                reason=verdict.reason,
            )
            self.store.put(record_of(ban))
            self.export(ban)
            self._look_at_network(verdict.target)

    def _look_at_network(self, target: Target) -> None:
        """Ban the network too when enough of its addresses are, unless somebody we know is in it."""
        rules = self.rules
        network = self.bans.network_is_bad(
            target, rules.network_prefix4, rules.network_prefix6, rules.network_addresses
        )
        if network is not None and not (self.known.near(network) or self.peers.near(network)):
            reason = f"{rules.network_addresses} addresses banned"
            self._execute(Verdict(network, rules.network_ban_s, rules.ban_most_s, reason, True))

    def export(self, ban: Ban) -> None:
        """Tell the packet filters of a ban."""
        duration_s = None if ban.until_s == inf else max(1.0, ban.until_s - self.wall_s())
        for export in self._exports_of(ban):
            self._tell(export.ban, ban.target.text, duration_s)

    def export_end(self, ban: Ban) -> None:
        """Tell the packet filters that a ban is over."""
        if ban.proven:
            for export in self._exports_of(ban):
                self._tell(export.unban, ban.target.text)

    def _exports_of(self, ban: Ban) -> list[IBanExport]:
        return [one for one in self.exports if not ban.target.port or IAgentBanExport.providedBy(one)]

    def export_all(self) -> None:
        """Tell the packet filters of all bans there are."""
        now_s = self.wall_s()
        bans = [
            (ban.target, None if ban.until_s == inf else max(1.0, ban.until_s - now_s))
            for ban in self.bans.all()
            if ban.proven
        ]
        for export in self.exports:
            agents = IAgentBanExport.providedBy(export)
            known = [(target.text, left_s) for target, left_s in bans if agents or not target.port]
            self._tell(export.begin, known)

    def _tell(self, told: Callable[..., None], *what: object) -> None:
        try:
            told(*what)
        except Exception:
            _log.failure("an export of bans failed")

    def sweep(self) -> None:
        """Once a second: bans that are over."""
        for ban in self.bans.expire(self.wall_s(), self.rules.remember_s):
            self.export_end(ban)
        self.known.sweep(self._clock.mono_s())

    # ------------------------------------------------------------ options, the white list

    def _option_changed(self, name: str) -> None:
        if name.startswith("guard"):
            self._options_changed()

    def _options_changed(self) -> None:
        self.rules = self.watch.rules = rules_of(self._options.get)
        self.trusted_by_option = [
            TrustedAddress(target.text, "option guardwhitelist", "", None)
            for target in self._targets("guardwhitelist")
        ]
        named = self._targets("guardpeers")
        self._named.clear()
        for target in named:
            self._named.add(target)
        self.peers.put("", named)
        self._fill_trusted()
        self._instruct()

    def steer(self, gate: Gate) -> None:
        """Tell the gate what the options say about scanners and rates, now and whenever they change."""
        self._gate = gate
        self._instruct()

    def _instruct(self) -> None:
        if self._gate is not None:
            self._gate.know_scanners(self._options.get("guardscanners"))
            self._gate.limit_rate(self.rules.rate, self.rules.known_factor)
            self._gate.limit_doubtful(self.rules.unproven_rate, self.rules.unproven_pause_s)

    def _targets(self, option: str) -> list[Target]:
        return [parse_target(text) for text in self._options.get(option)]

    def _fill_trusted(self) -> None:
        self.trusted.clear()
        targets = [parse_target(one.target) for one in (*self.trusted_by_option, *self.trusted_by_command)]
        for target in targets:
            self.trusted.add(target)
        for export in self.exports:
            if IWhiteListExport.providedBy(export):
                self._tell(export.whitelist, [target.text for target in targets])

    def peers_are(self, username: str, targets: Sequence[Target]) -> None:
        """The addresses of a partner (trunk, SIP server, traffic sender) are these now; none: it has none."""
        self.peers.put(username, targets)

    def trust_these(self, entries: Sequence[TrustedAddress]) -> None:
        """The white list of the database, as an operator changed it or as it was read."""
        self.trusted_by_command = sorted(entries, key=lambda entry: entry.target)
        self._fill_trusted()

    def stop(self) -> None:
        """Follow no more changes; exports are closed."""
        self._unsubscribe()
        self.database.stop()
        for export in self.exports:
            export.close()

    # ------------------------------------------------------------ for status and metrics

    def counts(self) -> dict[str, int]:
        """Figures for status and metrics."""
        return {
            **self.bans.counts(),
            **self.watch.counts(),
            "banned_since_start": self.banned_since_start,
            "slowed_logins": self.slowed,
            "known_addresses": len(self.known),
            "peers": len(self.peers),
            "peers_left_out": self.peers.left_out,
            "whitelist": len(self.trusted),
        }
