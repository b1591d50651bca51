"""The exit codes of every command; systemd and scripts rely on them."""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_REFUSED = 2
"""Input was refused: an option, a recording, a bundle given by hand."""
EXIT_CONFIG = 78
"""Configuration was refused (EX_CONFIG of sysexits): the service manager must not try again."""
EXIT_INTERRUPTED = 130
