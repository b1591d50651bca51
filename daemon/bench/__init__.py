"""``metaensemble bench``: what each stage costs, beside a baseline timed in the same rounds.

Lives here: the stopwatch, one file per stage, the page and the JSON. May import every room, and
pandas and talipp where they are installed (extra ``bench``). Never imported by the running daemon.
"""
