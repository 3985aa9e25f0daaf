"""Marks that an authorization backend may carry beside ``mizu.interfaces.IAuthBackend``."""

from zope.interface import Interface


class IByUsername(Interface):
    """
    This backend knows people only by the username of their credentials. It is not asked about requests
    without credentials, and its answers hold for every source address. Without this mark a backend is
    asked about every request, and its answers hold for one source address, port and username only.
    """
