"""A restart loads neither torch nor the exchanges nobody trades on."""

from __future__ import annotations

import subprocess
import sys

from tests.fakes.daemon_process import ROOT

LOAD = """
import sys
from daemon.lean_start import prepare
prepare()
from config.settings import Settings
from daemon import app
from daemon.clock import SystemClock
from daemon.model_loading import load_first_model
model, bundle = load_first_model(Settings(), SystemClock(), print)
exchanges = sum(name.startswith("ccxt.abstract.") for name in sys.modules)
print(model.runtime, "torch" in sys.modules, exchanges)
"""


def test_second_start_needs_no_torch() -> None:
    """The first start proves the compiled form beside the script, the next one remembers."""
    words: list[str] = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", LOAD], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        words = done.stdout.split()
    form, has_torch, exchanges = words
    if form == "torchscript":  # this machine found the script faster: then torch is needed
        return
    assert (has_torch, exchanges) == ("False", "2")
