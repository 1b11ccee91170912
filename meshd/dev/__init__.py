"""`meshd dev`: supervisor and workers in the foreground, on a broker of their own, gone afterwards.

For trying things out and for writing handlers. It must not be anybody's production: it restarts
what dies and says so, but keeps nothing.
"""
