"""Compiled code only: loops over validated, contiguous arrays that fill arrays their caller made.

This package knows Numba, NumPy and llvmlite and nothing of `somknn`. Importing it compiles nothing.
"""
