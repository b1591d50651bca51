"""The doors to an exchange: feed in, orders out, reconciliation; the only users of ccxt.

``normalize`` is pure and turns the venue's words into ours; ``feeds`` proves what it delivers;
``orders`` sends only what the gate approved; ``connect`` refuses a production address outside live.
"""
