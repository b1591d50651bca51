"""The five agents, the registry for further ones, and the wrapper that asks a single agent.

An agent is a scriptable torch module: obs_BF in, preference_B3 out (SELL, HOLD, BUY).
"""
