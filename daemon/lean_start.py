"""What must happen before a run imports its libraries, so that they load fast.

Compiled kernels get their folder before Numba is imported, thin packages stand where the exchange
library would otherwise import every exchange it knows.
"""

from __future__ import annotations

from daemon import kernel_cache
from daemon.venues import thin_library


def prepare() -> None:
    """Do both; nothing that a run needs may be imported before."""
    kernel_cache.prepare()
    thin_library.install()
