"""The evaluation room: numbers in, numbers and a page out; what may be said is decided by code.

Lives here: the back-test over bars, metrics of a return path, inference, rivals, the words of a
headline, leak detectors, the ledger of trials and of sealed data, the tear sheet. Never reads a
market file, an account or the clock: ``daemon/backtesting.py`` and its neighbours do.
"""
