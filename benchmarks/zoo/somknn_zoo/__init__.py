"""Everyone's rows: exact search by somknn and by the best peers of each kind, on rows that are not MNIST.

`rows.ALL` is the table of what is searched. `docs/lab-notes/zoo.md` shows the result, and `benchmarks/suites/zoo.py` is
the same table for asv.
"""
