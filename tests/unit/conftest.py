"""Tests of what exists compiled and in Python run for both."""

import pytest

from mizu import native
from mizu.sip import digest, headers, message, parser, uas, wire
from mizu.sip.transport import udp


@pytest.fixture(scope="module", params=["compiled", "python"])
def implementation(request):
    """What does the work of each message while the tests of this module run."""
    if request.param == "compiled" and native.messages is None:
        pytest.skip("mizu._messages is not built here")
    with pytest.MonkeyPatch.context() as patch:
        for module in (digest, headers, message, parser, uas, udp, wire):
            patch.setattr(module, "_compiled", native.messages if request.param == "compiled" else None)
        yield request.param
