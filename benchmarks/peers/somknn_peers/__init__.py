"""The same work done by somknn and by the libraries that users might choose instead.

Every contender runs in its own process, so that each gets its best environment and thread runtimes cannot clash; they
take turns, and only one works at a time. `docs/lab-notes/peers.md` shows the result.
"""
