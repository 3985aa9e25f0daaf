"""Mizu, an open SIP softswitch: registrar, call control, authorization, routing and billing."""

__version__ = "0.1.0"
