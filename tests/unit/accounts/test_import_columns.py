"""Columns of files that accounts are imported from."""

import pytest

from mizu.accounts.bulk import Heading
from mizu.accounts.field import Field
from mizu.accounts.kinds import Kind

#: Every name of the original's guide, 1.2, in its order and spelling.
ORIGINAL = """
ID Type ParentID BillingUserID IsBilledUser UserGroup RingGroup RGMode BelongsToCompany IsCompany
Name ContactName DisplayName Country UseCallingCard CanDial Phone Email Address Billaddress
TelNumber ShortTelnumber Username Password Ip AuthIp NeedAuth AddDate AddedBy Rights Commission
Reduction LateFee PacketID BillingDay Qualification Postpaid PaymentMode ContractNumber
ContractComment ContractState Credit Enabled temporarydisabled AllowedPartners Enabledprefixes
EnabledTechPrefixes BlockPrefixes TechPrefix DomainName Port TransIp TransPort callsigaddr
RouteRtpCaller RouteRtpCalled MaxLines filtering priority absolutepriority calledpriority
callerpriority prioritypartner onlytestcalls testprefix enableanumberlookup ivrid iscallback
isoperator pin regival Creditelapsedt stage currency discount
"""


def test_a_file_with_every_column_of_the_original_is_taken():
    """Those that the server fills, and the last address (Ip), are ignored."""
    names = ORIGINAL.split()
    heading = Heading(names)
    line, problems = heading.line(2, ["7" if name in ("ID", "Username") else "" for name in names])
    assert (line.username, dict(line.values), problems) == ("7", {}, [])
    line, problems = heading.line(3, ["192.0.2.1" if name in ("Ip", "Username") else "" for name in names])
    assert (dict(line.values), problems) == ({}, [])


@pytest.mark.parametrize("name", ORIGINAL.split())
def test_each_column_of_the_original_is_known(name):
    """In any case of letters."""
    for spelled in (name, name.upper(), name.lower()):
        assert Heading(["Username", spelled] if name != "Username" else [spelled]).names[-1] == spelled


def test_a_fault_of_ours_costs_one_line():
    """A cell that no kind of field has thought of is named like any other that is wrong."""
    heading = Heading(["Username", "Credit"])
    heading.fields[1] = Field("credit", (), Kind("broken", {}.__getitem__), "", "")
    line, [problem] = heading.line(2, ["a", "5"])
    assert (line, problem.line, problem.column) == (None, 2, "Credit")
    assert "fault of the server (KeyError)" in problem.text
