"""A Binance exchange, USD-M and spot, on loopback in its own process, for real clients to trade on.

``process.start`` runs it; ``server`` composes it: ``player`` moves ``venue`` (markets, account,
orders) by a ``market_source``, ``rest`` and ``stream_connection`` speak to clients on one port.
Imports kernels and config; of the daemon's shell only ``clock`` and ``kernel_cache``.
"""
