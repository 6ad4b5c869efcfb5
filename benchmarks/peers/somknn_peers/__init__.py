"""The same work done by somknn and by the libraries that users would pick instead.

Every contender lives in a process of its own, so that each gets its best environment and thread runtimes cannot clash; they
take turns, and only one works at a time. `docs/lab-notes/peers.md` shows the result.
"""
