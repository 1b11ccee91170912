"""The built-in tasks, so that a fresh install does something.

`compute` serves kind a, `analysis` kind b, `demo` both. They are written as anybody would write
handlers of his own, use nothing but the standard library, and know neither Redis nor a worker.
`sample/` holds a text, a log and a table to try them on.
"""
