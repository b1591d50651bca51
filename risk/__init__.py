"""What we may send: limits, sizing, breaker and the gate, the only maker of ``Approved``.

Pure: values in, values out; a refused order is a returned ``Denied``, never an exception. Anything
missing denies new risk and lets proven reduction through. May import: kernels, config, numpy.
Never: strategy, daemon, a clock, a socket.
"""
