"""What an operator should know who puts an account into a company."""

from collections.abc import Mapping

from mizu.accounts.kinds import Value
from mizu.accounts.records import Record
from mizu.console.services import ConsoleServices
from mizu.errors import MizuError


async def company_warnings(
    services: ConsoleServices, values: Mapping[str, Value], record: Record, scope: int | None
) -> list[str]:
    """
    Not known when the database is away by now, which is no reason to say that the change failed.

    :param values: what was set. :param record: the account, after that.
    """
    if values.get("company_id") is None or record["company_id"] is None:
        return []
    try:
        company = await services.records.get(f"#{record['company_id']}", scope)
    except MizuError:
        return []
    if company["is_company"]:
        return []
    name = company["username"]
    return [f"{name} is no company: 'set {name} is_company=1', or its own calls do not reach short numbers"]
