"""The one compilation policy of every kernel: ``from kernels.jit import njit``.

``cache=True``: machine code is kept on disk (NUMBA_CACHE_DIR), so only a first start compiles.
``error_model='numpy'``: division by zero gives inf or nan, not an exception, as a cfunc needs.
No ``fastmath``: kernels must be able to see NaN and infinity, which 'nnan'/'ninf' would hide, and
replay must be bit-exact, which reassociation would break.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

CACHE_ON_DISK = True


def njit(function: F) -> F:
    """Compile a kernel under the house policy; with NUMBA_DISABLE_JIT=1 it stays plain Python."""
    policy: Any = numba.njit(cache=CACHE_ON_DISK, error_model="numpy", fastmath=False)
    compiled: F = policy(function)  # numba names its own type; callers keep the kernel's signature
    return compiled
