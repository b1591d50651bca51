"""What we would like to hold: observation, agents, regimes, weights, target, intents.

Pure, given a loaded model bundle (bundle.py reads it, export.py writes it: the only files here that
open any). May import: kernels, config, numpy, torch; pydantic in manifest.py.
Never: risk, daemon, a clock, a socket, asyncio, an exchange.
"""
