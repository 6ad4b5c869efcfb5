"""Classification of files of any size, in bounded memory.

Finished parts are kept on disk, and the output is either complete or absent. `classify` and
`predict` do the whole run; the commands of these names call them. `predict_columns` turns rows into predictions; it
knows nothing about files, and other engines (a cluster) call it too.
"""

from somknn.batch.checks import ColumnsWarning, ResumeError, UsageError
from somknn.batch.engine import classify, predict
from somknn.batch.options import Options, Summary
from somknn.batch.prediction import Wanted, predict_columns
from somknn.datasets.chunks import BatchError, Reject

__all__ = [
    "BatchError",
    "ColumnsWarning",
    "Options",
    "Reject",
    "ResumeError",
    "Summary",
    "UsageError",
    "Wanted",
    "classify",
    "predict",
    "predict_columns",
]
