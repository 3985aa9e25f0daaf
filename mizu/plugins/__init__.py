"""Plugins live here and in any ``mizu/plugins`` directory on ``sys.path`` that has no ``__init__.py``."""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))  # type: ignore[no-untyped-call]
__all__: list[str] = []
