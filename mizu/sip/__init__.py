"""SIP as RFC 3261 and its extensions have it. Pure: no I/O, no clock, no Twisted outside ``transport``."""
