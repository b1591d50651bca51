"""What we would like to hold: observation, agents, regimes, weights, target, intents.

Pure, given a loaded model bundle. May import: kernels, config, numpy, torch.
Never: risk, daemon, a clock, a socket, asyncio, an exchange.
"""
