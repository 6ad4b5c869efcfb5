"""What `fit` learned, as one object: made aside and swapped in whole, while who reads keeps to the one that it took.

`fit` of scikit-learn's kind sets one attribute after the other. A `predict` in another thread would meet codes of one fit
and rows of another, a `fit` that is interrupted would leave such a mixture behind. So with `one_state`

    fit, partial_fit, ...         work on a draft, a copy of the estimator, whose attributes become the estimator's at the end
    predict, transform, save, ... work on a snapshot, another such copy, whose attributes nobody changes

The attributes of an object are a dictionary. A draft's takes the place of the estimator's, which stays as it is for whoever
has read it: what this relies on is that a reference is read, and written, at once. CPython does so, with its global lock and
in builds without it. Changes to one object wait for each other; reading waits for nothing.
"""

import functools
import inspect
import os
import threading
import weakref
from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

_OF_PARAMETERS = {"get_params", "set_params", "get_metadata_routing"}
_CHANGING = {"fit", "partial_fit", "fit_transform", "fit_predict", "refine"}
_CALLED_FROM_OUTSIDE = {"_predict_in_one_search"}  # by `somknn.batch`

T = TypeVar("T")

_turns: MutableMapping[Any, Any] = weakref.WeakKeyDictionary()


def _forget_turns() -> None:
    global _turns
    _turns = weakref.WeakKeyDictionary()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_turns)  # whoever held one is not there any more


def turn(changed: Any) -> Any:
    """The lock of those who change this object, to be used with `with`; a thread may enter again.

    It is kept apart from the object, which so can be copied and pickled.
    """
    return _turns.setdefault(changed, threading.RLock())


def snapshot(estimator: T) -> T:
    """A copy with the attributes that the estimator has now."""
    taken = object.__new__(type(estimator))
    taken.__dict__ = vars(estimator).copy()
    return taken


def change(estimator: Any, work: Callable[[Any], Any]) -> Any:
    """What `work(draft)` returns, which is to change the draft: if it raises no error, the estimator takes over all that is new, or gone, at once.

    In place of the draft, the estimator is returned.
    """
    with turn(estimator):
        draft = snapshot(estimator)
        before = dict(vars(draft))
        result = work(draft)
        after = vars(draft)
        # Parameters may have been set meanwhile.
        state = {name: value for name, value in vars(estimator).items() if name in after or name not in before}
        state |= {name: value for name, value in after.items() if name not in before or value is not before[name]}
        estimator.__dict__ = state
    return estimator if result is draft else result


def one_state(cls: type[T]) -> type[T]:
    """Class decorator: every public method and property sees the attributes of one fit, those that fit change all or none.

    Methods that a subclass defines see the estimator itself, as they would without, where they are not called by one of these.
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
