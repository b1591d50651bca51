"""The words and the arithmetic: events, units and every Numba kernel.

Lives here: what a tick is, exact integers, rings, rolling statistics, the book, bars, features,
the one ledger and the one matching engine. Pure functions over arrays passed in, ``out`` last.
May import: numpy, numba. Never: a clock, a socket, a file, randomness, any other room.
"""
