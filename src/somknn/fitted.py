"""Make `fit` atomic: its results are prepared on a copy and swapped in at once, so readers always see one fit.

A `fit` in scikit-learn's style sets one attribute after the other. A `predict` in another thread could see the codes of
one fit and the rows of another, and an interrupted `fit` would leave such a mixture behind. With `one_state`

    fit, partial_fit, ...         work on a draft: a copy of the estimator, whose attributes replace the estimator's at
    the end
    predict, transform, save, ... work on a snapshot: another copy, whose attributes nobody changes

The attributes of an object are a dictionary. The dictionary of the draft replaces that of the estimator; the old one
stays unchanged for readers that already hold it. This relies on reads and writes of a reference being atomic, which
CPython guarantees with and without its global lock. Changes to one object wait for each other; readers never wait.
"""

import functools
import inspect
import os
import threading
import weakref
from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

_OF_PARAMETERS = {"get_params", "set_params", "set_callbacks", "get_metadata_routing"}
_CHANGING = {"fit", "partial_fit", "fit_transform", "fit_predict", "refine"}
_CALLED_FROM_OUTSIDE = {"_predict_in_one_search"}  # by `somknn.batch`

T = TypeVar("T")

_turns: MutableMapping[Any, Any] = weakref.WeakKeyDictionary()


def _forget_turns() -> None:
    global _turns
    _turns = weakref.WeakKeyDictionary()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_turns)  # the threads that held locks do not exist in the child


def turn(changed: Any) -> Any:
    """The lock for changing this object, for use in a `with` statement; reentrant.

    It is stored outside the object, so that the object can be copied and pickled.
    """
    return _turns.setdefault(changed, threading.RLock())


def snapshot(estimator: T) -> T:
    """A copy with the estimator's current attributes."""
    taken = object.__new__(type(estimator))
    taken.__dict__ = vars(estimator).copy()
    return taken


def change(estimator: Any, work: Callable[[Any], Any]) -> Any:
    """Call `work(draft)`, which changes the draft, and return its result.

    If it raises no error, the estimator takes over all new, changed and removed attributes at once. If the result is
    the draft, the estimator is returned instead.
    """
    with turn(estimator):
        draft = snapshot(estimator)
        before = dict(vars(draft))
        result = work(draft)
        after = vars(draft)
        # Parameters may have been set in the meantime.
        state = {name: value for name, value in vars(estimator).items() if name in after or name not in before}
        state |= {name: value for name, value in after.items() if name not in before or value is not before[name]}
        estimator.__dict__ = state
    return estimator if result is draft else result


def one_state(cls: type[T]) -> type[T]:
    """Class decorator: public methods and properties see the attributes of one fit; fitting methods change all or none.

    Methods defined by a subclass see the estimator itself, as without the decorator, unless a decorated method calls
    them.
    """
    for name in dir(cls):
        if name in _OF_PARAMETERS or (name.startswith("_") and name not in _CALLED_FROM_OUTSIDE):
            continue
        member = inspect.getattr_static(cls, name)
        if isinstance(member, property) and member.fget is not None:
            setattr(cls, name, property(_reading(member.fget), member.fset, member.fdel))
        elif inspect.isfunction(member):
            setattr(cls, name, _changing(member) if name in _CHANGING else _reading(member))
    return cls


def _reading(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def on_a_snapshot(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(snapshot(self), *args, **kwargs)

    return on_a_snapshot


def _changing(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def on_a_draft(self: Any, *args: Any, **kwargs: Any) -> Any:
        return change(self, lambda draft: method(draft, *args, **kwargs))

    return on_a_draft
