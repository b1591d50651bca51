"""ccxt without the exchanges nobody asked for.

``import ccxt.pro.binanceusdm`` runs the ``__init__`` of three packages, which import every exchange
there is: more than half a second, at each start of the daemon. Thin packages stand in for the
three: an exchange is imported when it is named, and whoever asks for anything else (``exchanges``,
``__version__``) gets the library's own ``__init__``, run then.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

HOMES: Mapping[str, tuple[str, ...]] = {
    "ccxt": ("ccxt.base.errors", "ccxt.base.exchange"),
    "ccxt.async_support": ("ccxt.base.errors", "ccxt.async_support.base.exchange"),
    "ccxt.pro": ("ccxt.base.errors", "ccxt.async_support.base.exchange"),
}
"""The packages, and where the classes live that each shows beside its exchanges."""

_RAN = "_own_code_ran"


class ThinPackage(ModuleType):
    """A package whose own code waits until it is needed."""

    def __init__(self, spec: ModuleSpec) -> None:
        """Stand where the import system looks for submodules."""
        super().__init__(spec.name)
        assert spec.submodule_search_locations is not None, "a package"
        self.__spec__ = spec
        self.__loader__ = spec.loader
        self.__file__ = spec.origin
        self.__path__ = list(spec.submodule_search_locations)
        self.__package__ = spec.name

    def __setattr__(self, name: str, value: object) -> None:
        """Let an exchange's name mean its class, as in the library: not the file around it."""
        if isinstance(value, ModuleType):
            value = value.__dict__.get(name, value)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Import the exchange of that name, or run the package's own code at last."""
        if name.startswith("__") and name not in ("__version__", "__all__"):
            raise AttributeError(name)  # asked by the import system, which takes no for an answer
        for home in HOMES[self.__name__] if name[0].isupper() else ():
            found = importlib.import_module(home)
            if hasattr(found, name):
                return getattr(found, name)
        if name != "exchanges" and importlib.util.find_spec(f"{self.__name__}.{name}") is not None:
            importlib.import_module(f"{self.__name__}.{name}")
            return self.__dict__[name]
        if self.__dict__.get(_RAN):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__dict__[_RAN] = True
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def install() -> None:
    """Put thin packages where none has been imported yet."""
    for name in HOMES:
        if name in sys.modules:
            continue
        spec = importlib.util.find_spec(name)
        assert spec is not None, "ccxt is installed"
        package = ThinPackage(spec)
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)
