"""Classification of files of any size: bounded memory, finished parts on the disk, one complete output or none.

`classify` is the whole of it; the command `somknn classify` calls it. `predict_columns` is the step from rows to
predictions, which knows nothing of files and is what another engine (a cluster) calls.
"""

from somknn.batch.checks import BatchError, Reject, ResumeError, UsageError
from somknn.batch.engine import Options, Summary, classify
from somknn.batch.prediction import Wanted, predict_columns

__all__ = [
    "BatchError",
    "Options",
    "Reject",
    "ResumeError",
    "Summary",
    "UsageError",
    "Wanted",
    "classify",
    "predict_columns",
]
