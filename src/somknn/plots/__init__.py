"""Pictures, drawn with matplotlib (the extra `somknn[plots]`); each function returns a `matplotlib.figure.Figure`.

No function touches pyplot or its global state, so they work in threads, servers and notebooks alike.
"""
