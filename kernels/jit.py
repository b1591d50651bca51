"""The one compilation policy of every kernel: ``from kernels.jit import njit``.

``cache=True``: machine code is kept on disk (NUMBA_CACHE_DIR), so only a first start compiles.
``error_model='numpy'``: division by zero gives inf or nan, not an exception, as a cfunc needs.
No ``fastmath``: kernels must be able to see NaN and infinity, which 'nnan'/'ninf' would hide, and
replay must be bit-exact, which reassociation would break.

Numba by itself only notices a change of the file a kernel stands in, although the machine code also
holds the constants and kernels it imports from others: after an upgrade it would run a mixture of
old and new, with old offsets into new state. So the stamp of what is cached covers every source of
ours that the file imports, directly or not.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.extending import intrinsic, overload

F = TypeVar("F", bound=Callable[..., Any])

CACHE_ON_DISK = True


def njit(function: F) -> F:
    """Compile a kernel under the house policy; with NUMBA_DISABLE_JIT=1 it stays plain Python."""
    return _compile(function, False)


def njit_contracted(function: F) -> F:
    """Compile a kernel whose products may become fused multiply-adds; for networks only.

    NaN and infinity stay visible and one machine gives equal bits; another processor may round
    differently, which ledgers and features must never do.
    """
    return _compile(function, {"contract"})


def njit_reordered(function: F) -> F:
    """Compile as ``njit_contracted``, with sums in the order that suits the processor."""
    return _compile(function, {"contract", "reassoc"})


FLOATS = numba.types.float64[::1]
INTEGERS = numba.types.int64[::1]
LEVELS = numba.types.int64[:, ::1]
BYTES = numba.types.uint8[::1]
FLOAT = numba.types.float64
FLAG = numba.types.boolean
INTEGER = numba.types.int64


def direct(kernel: F, *parameters: Any) -> F:
    """Return a kernel's own entry for parameters of these types, past the choice among types.

    A call from Python then costs 200 ns instead of 325 (a quote, five integers and a state). The
    caller vouches for the types: of an array only the width of its numbers is still looked at, and
    a float is cut to an integer. Plain Python stays as it is.
    """
    compiled: Any = kernel
    if not hasattr(compiled, "compile"):
        return kernel
    compiled.compile(parameters)
    entry: F = compiled.overloads[parameters].entry_point
    return entry


def borrow(array: Any) -> Any:
    """Return the same array without a share in its memory, in a kernel; elsewhere, the array.

    Every view of an array counts itself in and out of its memory, 5 ns each way, and kernels that
    name the parts of a row make hundreds of them: a decision's weights took 9.1 us, of what is
    borrowed 5.9. Only for a kernel's arguments, which the caller holds: nobody waits for what is
    borrowed, so memory that the kernel itself made would be gone, and no view may be returned.
    """
    return array


@intrinsic
def _unowned(_context: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = context.make_array(signature.args[0])(context, builder, value=arguments[0])
        found.meminfo = found.meminfo.type(None)
        found.parent = found.parent.type(None)
        return found._getvalue()

    return array(array), generate


@overload(borrow, strict=False)
def _borrow(array: Any) -> Any:
    if not isinstance(array, numba.types.Array):
        return None
    unowned: Any = _unowned  # numba's own type asks for the context as well
    return lambda array: unowned(array)


def _compile(function: F, fastmath: bool | set[str]) -> F:
    policy: Any = numba.njit(cache=CACHE_ON_DISK, error_model="numpy", fastmath=fastmath)
    compiled: F = policy(function)  # numba names its own type; callers keep the kernel's signature
    _stamp_with_imports(compiled, Path(function.__code__.co_filename))
    return compiled


def _stamp_with_imports(compiled: Any, source: Path) -> None:
    """Make the disk cache of a kernel depend on the sources it imports as well as on its own.

    The stamp stands in the cache's version, which numba reads before it unpickles anything else:
    an index may name a type that the sources no longer have, and would then fail to load at all.
    """
    index = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if index is not None and source.is_file():
        index._version = (index._version, sources_sha256(source))


@cache
def sources_sha256(source: Path) -> str:
    """Return SHA-256 over a Python file and all it imports from the tree it stands in.

    The tree is the folder above the file's own, or above the outermost package that this one lies
    in; imports are followed to the end.
    """
    package = source.parent
    while (package.parent / "__init__.py").is_file():
        package = package.parent
    root = package.parent
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imported(path, root))
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def _imported(source: Path, root: Path) -> tuple[Path, ...]:
    names: list[str] = []
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
            names.extend(f"{node.module}.{alias.name}" for alias in node.names)
    paths = (root.joinpath(*name.split(".")).with_suffix(".py") for name in names)
    return tuple(path for path in paths if path.is_file())
