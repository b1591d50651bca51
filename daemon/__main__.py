"""Let ``python -m daemon`` be the same as ``metaensemble``."""

from daemon.cli import main

raise SystemExit(main())
