"""Progress of training, for scikit-learn's callbacks (SLEP023), which it has from version 1.9 on.

A fit is a task, a start of K-Means and a pass over the rows are tasks within it. `ProgressBar`, `ScoringMonitor` and
others follow them, set by `set_callbacks`. A callback that returns True at the end of a pass ends the passes. With an
older scikit-learn, and without callbacks, all this does nothing.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
    from sklearn.callback import with_callbacks as with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks."""

    def with_callbacks(method: Any) -> Any:
        """The method as it is: this scikit-learn has no callbacks."""
        return method


class Task:
    """A task that callbacks follow.

    context : of scikit-learn, or None if nobody follows
    given : what its hooks may ask for: X, y, metadata
    """

    def __init__(self, estimator: Any, context: Any, given: dict[str, Any]):
        self._estimator, self._context, self._given = estimator, context, given

    @classmethod
    def of_fit(cls, estimator: Any, n_parts: int, X: Any = None, y: Any = None, sample_weight: Any = None) -> "Task":
        """The fit of an estimator whose method is under `with_callbacks`, with at most `n_parts` tasks within."""
        if not getattr(estimator, "_skl_callbacks", None):
            return cls(estimator, None, {})
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        given = {"X": X, "y": y, "metadata": metadata}
        context = estimator._init_callback_context(max_subtasks=n_parts)
        context.call_on_fit_task_begin(estimator=estimator, **given)
        return cls(estimator, context, given)

    def part(self, name: str, n_parts: int = 0) -> "Task":
        """Begin a task within this one."""
        if self._context is None:
            return self
        context = self._context.subcontext(task_name=name, max_subtasks=n_parts)
        context.call_on_fit_task_begin(estimator=self._estimator, **self._given)
        return Task(self._estimator, context, self._given)

    def end(self, state: Callable[[], dict[str, Any]] | None = None) -> bool:
        """End it; returns whether a callback asks to stop. state : fitted attributes that are enough to predict."""
        if self._context is None:
            return False
        return bool(
            self._context.call_on_fit_task_end(
                estimator=self._estimator, **self._given, reconstruction_attributes=state
            )
        )


class Passes:
    """What a training loop tells: `begin()` at the head of a pass, and the pass itself, by a call, at its end.

    report : gets the arguments of the call; returns True to end training
    state : gets them too; the fitted attributes after this pass, which callbacks may ask for
    """

    def __init__(
        self,
        task: Task,
        report: Callable[..., bool],
        state: Callable[..., dict[str, np.ndarray]] | None = None,
    ):
        self._task, self._report, self._state = task, report, state
        self._pass: Task | None = None

    def begin(self) -> None:
        self._pass = self._task.part("pass")

    def __call__(self, *told: Any) -> bool:
        """Tell of a pass. Returns whether training should end."""
        stop, state = self._report(*told), self._state
        if self._pass is not None:
            stop |= self._pass.end(None if state is None else lambda: state(*told))
        return stop
