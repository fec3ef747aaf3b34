"""A fleet without hardware, for demo and tests. Whatever comes from here says that it is simulated."""
