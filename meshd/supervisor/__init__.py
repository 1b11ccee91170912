"""The supervisor: dispatches the inbox, promotes what is due, watches the workers, says how things
are. Any number may run against one Redis: all they do to it are idempotent scripts, and there is no
leader. Workers go on without it.

One thread, one `selectors` loop; `loop.py` is where to start reading.
"""
