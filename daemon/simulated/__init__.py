"""A Binance USD-M exchange on loopback, in a process of its own, that a real client can trade on.

One port serves REST (aiohttp) and streams (websockets). Market source, accounts, REST, streams and
matching are separate files. Imports kernels for matching and ledger; nothing of the daemon's shell.
"""
