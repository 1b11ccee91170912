"""The worker: claims from Redis, feeds its runners, settles, beats. It runs no user code.

One thread, one `selectors` loop; `loop.py` is where to start reading.
"""
