"""How agents learn: worlds, transitions, learners, and the proofs that they do."""
