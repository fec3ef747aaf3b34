"""The decisions: pure functions of (state, event, now).

Nothing in here does I/O, reads a clock, starts a thread or iterates over anything unordered, so the same object
drives the live system, the demo, the simulator and the tests.
"""
