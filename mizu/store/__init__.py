"""Accounts, registrations and calls in PostgreSQL."""

from mizu.store.store import Store

__all__ = ["Store"]
