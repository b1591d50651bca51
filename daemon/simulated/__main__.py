"""``python -m daemon.simulated``: the exchange's own process, started by ``process.start``."""

from daemon import kernel_cache

if __name__ == "__main__":
    kernel_cache.prepare()  # before anything imports Numba
    from daemon.simulated.exchange_child import main

    raise SystemExit(main())
