"""``--demo``: two phone accounts for a first call, with passwords that are shown once."""

import secrets

from mizu.config import Config
from mizu.console.services import ConsoleServices
from mizu.errors import Conflict
from mizu.sip.digest import ha1

USERS = ("1001", "1002")
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that looks like something else
PASSWORD_LENGTH = 12


class Demo:
    """Makes the accounts that are missing and says how to use them."""

    def __init__(self, services: ConsoleServices, config: Config) -> None:
        self._services, self._config = services, config

    async def prepare(self) -> list[str]:
        """Lines for the person at the terminal. An account that is there keeps its password."""
        lines = ["", "Mizu demo. Point two SIP phones at this machine:"]
        for name in USERS:
            password = await self._make(name)
            told = f"password {password}" if password else "password as shown at the first start"
            lines.append(f"  user {name}   {told}")
        lines.append("  (forgotten? 'mizu passwd 1001' sets a new one)")
        echo = self._config.media.echo_numbers
        if echo:
            lines.append(f"Call 1002 from 1001, or {echo[0]} to hear yourself. See calls with 'mizu cdrs'.")
        return [*lines, ""]

    async def _make(self, name: str) -> str:
        """The new account's password; empty: the account was there already."""
        password = "".join(secrets.choice(ALPHABET) for _ in range(PASSWORD_LENGTH))
        realm = self._services.realm
        secret = {kind: ha1(name, realm, password, kind) for kind in ("MD5", "SHA-256")}
        try:
            await self._services.accounts.add(name, secret, {"display_name": f"Demo phone {name}"})
        except Conflict:
            return ""
        return password
