"""Makes ``twistd mizu`` exist. Imports nothing of mizu: twistd imports every dropin to print its help."""

from twisted.application.service import ServiceMaker

mizu = ServiceMaker(  # type: ignore[no-untyped-call]
    "mizu", "mizu.tap", "An open SIP softswitch: phones register here and call each other.", "mizu"
)
