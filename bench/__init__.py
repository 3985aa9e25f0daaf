"""Mizu beside its peers, driven by SIPp on loopback. See README.rst in this directory."""
