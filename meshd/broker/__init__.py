"""Redis, and nothing else in meshd touches it: one function or method per verb of the design.

It raises BrokerUnavailable, BrokerError, ClaimLost, SlotHeld and QueueFull; redis-py's own errors
never leave this package. It neither waits between attempts nor decides what a failure means.
"""
