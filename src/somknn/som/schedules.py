"""Decrease of radius and learning rate from the first epoch to the last."""

from collections.abc import Callable

import numpy as np

SCHEDULES = ("linear", "exponential", "inverse")


def schedule_values(schedule: str | Callable[[float], float], start: float, stop: float, count: int) -> np.ndarray:
    """`count` values from `start` (the first) to `stop` (the last), float64.

    With t from 0 to 1:

    - "linear": start + (stop - start)·t
    - "exponential": start·(stop / start)^t
    - "inverse": start / (1 + t·(start / stop - 1))
    - a callable: called with each t; start and stop are ignored.

    Raises
    ------
    ValueError
        For an unknown name, and values that are negative or not finite. "exponential" and "inverse" need start and stop
        above 0.

    Examples
    --------
    >>> schedule_values("linear", 10, 1, 4)
    array([10.,  7.,  4.,  1.])
    """
    t = np.linspace(0.0, 1.0, count) if count > 1 else np.zeros(count)
    if callable(schedule):
        values = np.array([float(schedule(float(step))) for step in t])
    elif schedule == "linear":
        values = start + (stop - start) * t
    elif schedule in ("exponential", "inverse"):
        if not (start > 0 and stop > 0):
            raise ValueError(f"a schedule {schedule!r} needs values above 0, got {start} to {stop}; use 'linear'")
        values = start * (stop / start) ** t if schedule == "exponential" else start / (1.0 + t * (start / stop - 1.0))
    else:
        raise ValueError(f"a schedule must be a callable or one of {', '.join(SCHEDULES)}; got {schedule!r}")
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"the schedule gives {values[~(np.isfinite(values) & (values >= 0))][0]}: not 0 or above")
    return values
