"""What holds for every test: kernels compiled from this checkout, examples that repeat."""

from __future__ import annotations

import hypothesis

from daemon.kernel_cache import prepare

prepare()  # before a test module imports Numba: no test may run yesterday's machine code

hypothesis.settings.register_profile(
    "house",
    deadline=None,  # a kernel's first call compiles, and the machine may be busy
    derandomize=True,  # the same examples on every run and every machine
    print_blob=True,
)
hypothesis.settings.load_profile("house")
