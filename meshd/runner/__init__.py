"""The child that runs handlers: one task at a time, in an interpreter of its own.

It knows neither Redis nor systemd; all it has is a socket to its worker and the started file.
Python 3.9 and the standard library only: it may run under the user's own interpreter.
"""
