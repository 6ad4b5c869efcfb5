"""Convert estimators to and from the contents of a model file; a table lists the classes that a file may name."""

import importlib
import os
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np

import somknn
from somknn.fitted import snapshot
from somknn.machine import resolve_n_threads
from somknn.persistence import column_transformers, container, transformers
from somknn.persistence.container import ModelFileError
from somknn.persistence.contents import Kind, check_contents
from somknn.persistence.encoding import decode, encode
from somknn.persistence.transformers import TRANSFORMERS

# All classes that a model file may name, and their modules. A file cannot cause any other import.
CLASSES: dict[str, str] = {
    "NearestNeighbors": "somknn.neighbors:NearestNeighbors",
    "KNeighborsClassifier": "somknn.neighbors:KNeighborsClassifier",
    "KNeighborsRegressor": "somknn.neighbors:KNeighborsRegressor",
    "KNeighborsTransformer": "somknn.neighbors:KNeighborsTransformer",
    "SOM": "somknn.som:SOM",
    "SOMClassifier": "somknn.som:SOMClassifier",
    "SOMFeatureSelector": "somknn.som:SOMFeatureSelector",
    "KMeans": "somknn.prototypes:KMeans",
    "LVQ": "somknn.prototypes:LVQ",
    "PrototypeClassifier": "somknn.prototypes:PrototypeClassifier",
    "DeformationClassifier": "somknn.images:DeformationClassifier",
    "Blur": "somknn.images:Blur",
    "CenterDigit": "somknn.images:CenterDigit",
    "Deskew": "somknn.images:Deskew",
    "GradientOrientation": "somknn.images:GradientOrientation",
    "Pipeline": "sklearn.pipeline:Pipeline",
    "ColumnTransformer": "sklearn.compose:ColumnTransformer",
    **{name: declared.place for name, declared in TRANSFORMERS.items()},
}


class InputSchema(NamedTuple):
    """The rows that a saved model expects: number of columns, dtype it was fitted on, column names if known."""

    n_features: int | None
    dtype: str | None
    feature_names: list[str] | None


class Savable:
    """Mixin: `save` for an estimator that follows scikit-learn's conventions."""

    _saved_state: ClassVar[Mapping[str, Kind]]
    _derived_state: ClassVar[tuple[str, ...]] = ()

    def save(self, path: str | os.PathLike) -> None:
        """Save the fitted estimator as one safetensors file; `somknn.load(path)` reads it back.

        The file holds arrays and JSON only, never a pickle. It is written completely or not at all.

        Parameters
        ----------
        path : path-like
            The file to write, usually with the extension ".safetensors". An existing file is replaced; if `path` is a
            symbolic link, its target is replaced.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If a parameter or fitted attribute cannot be saved (a function, a random number generator).
        """
        save(self, path)

    def _state_to_save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        fitted = {name: value for name, value in vars(self).items() if _is_fitted_name(name)}
        fitted = {name: value for name, value in fitted.items() if name not in self._derived_state}
        arrays = {name: value for name, value in fitted.items() if _is_plain_array(value)}
        return arrays, {name: value for name, value in fitted.items() if name not in arrays}

    def _check_parameters(self) -> None:
        """Raise ValueError or TypeError for parameters that `fit` would reject."""
        if hasattr(self, "_parameter_constraints"):
            cast(Any, self)._validate_params()
        resolve_n_threads(getattr(self, "n_jobs", None))

    def _check_saved(self, values: Mapping[str, Any]) -> None:
        """Raise ModelFileError for inconsistent attributes that the table `_saved_state` cannot detect."""

    def _restore(self, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        for name, value in [*arrays.items(), *state.items()]:
            setattr(self, name, value)


def _is_fitted_name(name: str) -> bool:
    return name.isidentifier() and name.endswith("_") and not name.startswith("_")


def _is_plain_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and container.can_store(value.dtype)


def _class_of(name: Any) -> type:
    if not isinstance(name, str) or name not in CLASSES:
        raise ModelFileError(f"holds a {name!r}, which this version of somknn does not know")
    module, _, attribute = CLASSES[name].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise ModelFileError(f"holds a {name}, which this installation of somknn lacks") from None


def _registered_name(estimator: Any) -> str:
    name = type(estimator).__name__
    if name not in CLASSES or _class_of(name) is not type(estimator):
        raise TypeError(
            f"{type(estimator).__module__}.{name} cannot be saved: model files hold somknn's own estimators, and "
            f"scikit-learn Pipelines made of them, of {', '.join(TRANSFORMERS)}, and of ColumnTransformers of these"
        )
    return name


def _check_state(estimator: Any, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
    """Check the state that an estimator is about to save or restore against its class's declarations."""
    if not hasattr(estimator, "_saved_state"):
        raise TypeError(f"{type(estimator).__name__} does not say in _saved_state what its fitted state is")
    values = {**state, **arrays}
    if len(values) != len(arrays) + len(state):
        raise ModelFileError("a fitted attribute is there twice")
    check_contents(estimator._saved_state, values)
    estimator._check_saved(values)


def _state_of(estimator: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if isinstance(estimator, Savable):
        return estimator._state_to_save()
    if type(estimator).__name__ in TRANSFORMERS:
        return transformers.state_of(estimator)
    return {}, {}  # a Pipeline: its fitted state is in its steps, which are parameters


def _as_it_is(estimator: Any) -> Any:
    """A consistent copy to save while others may fit: of the estimator, or of a Pipeline and each of its steps."""
    taken = snapshot(estimator)
    if isinstance(getattr(taken, "steps", None), list):
        taken.steps = [(name, _as_it_is(step) if hasattr(step, "get_params") else step) for name, step in taken.steps]
    return taken


def _encode_estimator(estimator: Any, key: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    name = _registered_name(estimator)
    prefix = f"{key}/" if key else ""

    def nested(inner: Any, inner_key: str) -> dict[str, Any]:
        return _encode_estimator(_as_it_is(inner), inner_key, arrays)

    try:
        given = estimator.get_params(deep=False)
        if name == "ColumnTransformer":
            given, state = column_transformers.described(estimator)
            own_arrays: dict[str, np.ndarray] = {}
        else:
            own_arrays, state = _state_of(estimator)
        if isinstance(estimator, Savable):
            estimator._check_parameters()
            if own_arrays or state:
                _check_state(estimator, own_arrays, state)
    except ModelFileError as error:
        raise ValueError(f"{name} cannot be saved: {error}") from None
    params = {
        param: encode(value, f"{prefix}{param}", f"parameter {param!r} of {name}", arrays, nested)
        for param, value in given.items()
        if not (name == "Pipeline" and param == "memory")  # a cache folder on the machine that fitted it
    }
    places = {}
    for array_name, array in own_arrays.items():
        if not _is_plain_array(array):
            raise TypeError(f"{name} cannot be saved: array {array_name!r} has dtype {np.asarray(array).dtype}")
        places[array_name] = f"{prefix}{array_name}"
        arrays[places[array_name]] = array
    return {
        "class": name,
        "params": params,
        "arrays": places,
        "state": {
            item: encode(value, f"{prefix}{item}", f"attribute {item!r} of {name}", arrays, nested)
            for item, value in state.items()
        },
    }


def _check_steps(params: dict[str, Any]) -> None:
    """Check what `Pipeline` itself only checks in use, and that its steps are fitted."""
    from sklearn.pipeline import Pipeline

    steps = params.get("steps")
    if set(params) - {"steps", "transform_input", "verbose"} or not isinstance(steps, list) or not steps:
        raise ModelFileError("damaged model header (a Pipeline)")
    for step in steps:
        pair = isinstance(step, tuple) and len(step) == 2 and isinstance(step[0], str)
        if not pair or not (step[1] is None or step[1] == "passthrough" or hasattr(step[1], "get_params")):
            raise ModelFileError("damaged model header (a step of a Pipeline)")
        if hasattr(step[1], "get_params"):
            _check_fitted(step[1])
    Pipeline(steps)._validate_steps()


def _check_fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise ModelFileError(f"holds a {type(estimator).__name__} that is not fitted") from None


def _decode_estimator(content: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(content, dict) or set(content) != {"class", "params", "arrays", "state"}:
        raise ModelFileError("damaged model header (an estimator)")
    cls: Any = _class_of(content["class"])
    if not all(isinstance(content[part], dict) for part in ("params", "arrays", "state")):
        raise ModelFileError("damaged model header (an estimator)")

    def nested(inner: Any) -> Any:
        return _decode_estimator(inner, arrays)

    known = set(cls._get_param_names())
    unknown = sorted(set(content["params"]) - known)
    if unknown:
        raise ModelFileError(f"{content['class']} has no parameter {unknown[0]!r} in this version of somknn")
    params = {name: decode(value, arrays, nested) for name, value in content["params"].items()}
    if content["class"] == "ColumnTransformer":
        state = {name: decode(value, arrays, nested) for name, value in content["state"].items()}
        return column_transformers.restored(cls, params, state)
    if content["class"] == "Pipeline":
        _check_steps(params)
    estimator = cls(**params)
    own_arrays = {}
    for name, place in content["arrays"].items():
        if not isinstance(place, str) or place not in arrays:
            raise ModelFileError(f"array {name!r} is missing")
        own_arrays[name] = arrays[place]
    state = {name: decode(value, arrays, nested) for name, value in content["state"].items()}
    if isinstance(estimator, Savable):
        estimator._check_parameters()
        if own_arrays or state:  # otherwise it is not fitted: a parameter of another estimator
            # Recomputed from the rest, so the file's copy is ignored.
            own_arrays = {name: value for name, value in own_arrays.items() if name not in estimator._derived_state}
            state = {name: value for name, value in state.items() if name not in estimator._derived_state}
            _check_state(estimator, own_arrays, state)
            estimator._restore(own_arrays, state)
    elif content["class"] in TRANSFORMERS:
        if own_arrays or state:
            transformers.restore(estimator, own_arrays, state)
    elif own_arrays or state:
        raise ModelFileError(f"damaged model header (state of a {content['class']})")
    return estimator


def input_schema(estimator: Any) -> InputSchema:
    """The rows that a fitted estimator expects."""
    width = getattr(estimator, "n_features_in_", None)
    names = getattr(estimator, "feature_names_in_", None)
    first = estimator.steps[0][1] if hasattr(estimator, "steps") else estimator
    dtype = getattr(estimator, "_input_dtype", getattr(first, "_input_dtype", None))
    return InputSchema(
        None if width is None else int(width),
        None if dtype is None else str(np.dtype(dtype)),
        None if names is None else [str(name) for name in names],
    )


def save(estimator: Any, path: str | os.PathLike) -> None:
    """Save a fitted estimator, or a scikit-learn Pipeline of somknn estimators and listed transformers, as one file.

    The transformers are those of `somknn.persistence.transformers`: scalers, Normalizer, SimpleImputer, OneHotEncoder,
    PCA; and ColumnTransformers of them.

    See `Savable.save`.
    """
    from sklearn.utils.validation import check_is_fitted

    _registered_name(estimator)
    estimator = _as_it_is(estimator)
    check_is_fitted(estimator)
    arrays: dict[str, np.ndarray] = {}
    content = _encode_estimator(estimator, "", arrays)
    classes = getattr(estimator, "classes_", [])
    outputs = classes if isinstance(classes, list) else [classes]
    document = {
        "somknn_version": somknn.__version__,
        "estimator": content,
        "input": input_schema(estimator)._asdict(),
        "classes": [str(label) for labels in outputs for label in labels] or None,
    }
    container.write(path, arrays, document)


def _read(path: str | os.PathLike, memory_map: bool) -> tuple[Any, dict[str, Any]]:
    arrays, document = container.read(path, memory_map=memory_map)
    try:
        estimator = _decode_estimator(document.get("estimator"), arrays)
        _check_fitted(estimator)
        _take_dtype(estimator, document.get("input"))
        return estimator, document
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from None
    except RecursionError:
        raise ModelFileError(f"{os.fspath(path)}: damaged header (nested too deeply)") from None
    except MemoryError:
        raise ModelFileError(f"{os.fspath(path)}: the model needs more memory than there is") from None
    except ImportError:  # an extra that the model needs is missing: its name is in the message
        raise
    except Exception as error:
        # The digests are right but the contents do not match the class: another program wrote the file.
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{os.fspath(path)}: the model's contents do not fit its class ({reason})") from error


def _take_dtype(estimator: Any, schema: Any) -> None:
    """Give a Pipeline the dtype of the rows that it was fitted on, where its first step does not know it."""
    dtype = schema.get("dtype") if isinstance(schema, dict) else None
    first = estimator.steps[0][1] if hasattr(estimator, "steps") else estimator
    if dtype is None or hasattr(first, "_input_dtype"):
        return
    if dtype not in ("float32", "float64"):
        raise ModelFileError("damaged model header (the dtype of the rows)")
    estimator._input_dtype = np.dtype(dtype)


def load(path: str | os.PathLike, *, memory_map: bool = True) -> Any:
    """Load an estimator that `save` wrote.

    The file is verified before it is used: its layout, the SHA-256 digests of the header and of each array, that
    numbers are finite and positions within range. Nothing in the file is executed. Arrays are mapped from the file,
    read-only, so processes that load the same model share the memory. Replace a model file by saving to its path (which
    renames), never by writing into it while it is loaded.

    Parameters
    ----------
    path : path-like
        The file.
    memory_map : bool, default=True
        False reads the arrays into memory instead, for a file that may be changed or deleted.

    Returns
    -------
    estimator
        Fitted, ready to predict.

    Raises
    ------
    ModelFileError
        A ValueError: the file is damaged, truncated, from a newer version of the format, or not a model file.
    OSError
        If the file cannot be opened.
    """
    return _read(path, memory_map)[0]


def describe(path: str | os.PathLike) -> dict[str, Any]:
    """The JSON header of a model file: class, parameters, classes, expected input. The arrays are verified too."""
    return container.read(path)[1]
