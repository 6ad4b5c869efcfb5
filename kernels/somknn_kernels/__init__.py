"""Compiled code only: loops over checked, contiguous arrays, which fill arrays that their caller made.

This package uses Numba, NumPy and llvmlite, and nothing of `somknn`. Importing it compiles nothing.
"""
