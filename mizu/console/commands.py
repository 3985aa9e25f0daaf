"""The built-in commands, put together. Each family has its own module."""

from mizu.console import (
    account_commands,
    account_field_commands,
    address_commands,
    audit_commands,
    auth_commands,
    call_commands,
    group_commands,
    guard_commands,
    import_commands,
    number_commands,
    option_commands,
    registration_commands,
    server_commands,
    sip_account_commands,
    token_commands,
)
from mizu.console.auditing import Auditor
from mizu.console.services import ConsoleServices
from mizu.console.table import CommandTable


def command_table(services: ConsoleServices) -> CommandTable:
    """The table of every command built in, over these services."""
    return CommandTable(
        (
            *server_commands.commands(services),
            *account_commands.commands(services),
            *account_field_commands.commands(services),
            *group_commands.commands(services),
            *address_commands.commands(services),
            *number_commands.commands(services),
            *sip_account_commands.commands(services),
            *import_commands.commands(services),
            *registration_commands.commands(services),
            *call_commands.commands(services),
            *guard_commands.commands(services),
            *auth_commands.commands(services),
            *option_commands.commands(services),
            *token_commands.commands(services),
            *audit_commands.commands(services),
        ),
        auditor=Auditor(services.audit),
    )
