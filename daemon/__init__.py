"""The shell: sockets, files, clock, signals and processes, around the pure ``engine``.

``engine.step(event) -> effects`` is the hinge and does no I/O itself; everything else here turns
the world into events and effects into the world. May import every room. Only ``clock`` reads time,
only ``venues`` speaks ccxt.
"""
