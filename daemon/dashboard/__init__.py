"""Views of a running daemon: the terminal's, the live page, the metrics.

They read state and never change it; an operator's command from the page goes the way of all
commands. Only ``page_server`` listens, on loopback. The page itself lies in ``page/``.
"""
