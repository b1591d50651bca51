"""The evaluation room: numbers in, numbers and a page out; what may be said is decided by code.

Lives here: metrics of a return path, inference, baselines, the words of a headline, leak detectors,
the ledger of trials and of sealed data, the tear sheet. May import kernels and config. Never reads
a market file, an account or the clock: ``daemon/backtest.py`` and its neighbours do.
"""
