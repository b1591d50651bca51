"""The exchange library is imported in part, and means the same as when it is imported whole."""

from __future__ import annotations

import subprocess
import sys

from tests.fakes.daemon_process import ROOT

THIN = """
import sys
from daemon.lean_start import prepare
prepare()
import daemon.venues.tap
loaded = [name for name in sys.modules if name.startswith("ccxt.abstract.")]
assert sorted(loaded) == ["ccxt.abstract.binance", "ccxt.abstract.binanceusdm"], loaded
import ccxt, ccxt.pro
from ccxt.pro import kraken
assert isinstance(kraken, type) and ccxt.pro.kraken is kraken
assert issubclass(ccxt.pro.binanceusdm, ccxt.async_support.binance)
assert issubclass(ccxt.InvalidNonce, ccxt.NetworkError)
assert ccxt.async_support.Exchange is ccxt.async_support.binance.__mro__[1]
assert "ccxt.abstract.bybit" not in sys.modules
assert len(ccxt.exchanges) > 50 and len(ccxt.pro.exchanges) > 50 and ccxt.__version__
assert "ccxt.abstract.bybit" in sys.modules
assert ccxt.binance.__name__ == "binance"
try:
    ccxt.no_such_exchange
except AttributeError as error:
    assert "no_such_exchange" in str(error)
else:
    raise AssertionError("a name that nobody has")
"""


def test_only_named_exchanges_are_imported_until_all_are_wanted() -> None:
    """Two of a hundred exchanges until somebody asks for the list; then the library is whole."""
    done = subprocess.run(
        [sys.executable, "-c", THIN], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
