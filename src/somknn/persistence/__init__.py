"""Save and load fitted estimators: one safetensors file, no pickle, everything checked on loading.

For users: `estimator.save(path)` and `somknn.load(path)`.

For authors of estimators: inherit `Savable` and add the class to `CLASSES`. Parameters are saved through `get_params`,
the fitted state through two methods:

    _state_to_save() -> (arrays, state)     arrays by name (numbers, booleans) and a dict of further values
    _restore(arrays, state)                 called on a new instance with its parameters; sets the fitted attributes

The default of both covers every public attribute that ends in "_": arrays (also of text), numbers, text, None, lists,
tuples, dicts and other registered estimators. A class that keeps fitted state elsewhere overrides both.

A file is not trusted. A class declares in `_saved_state` what each of these arrays and values may be (the kinds are in
`somknn.persistence.contents`), and checks in `_check_saved(values)` what that table cannot express; both checks run
before `_restore` is called, and before a file is written. Parameters are checked by `_check_parameters()`, which is
scikit-learn's `_validate_params` unless overridden. Attributes that follow from others are not saved: they are listed
in `_derived_state` and recomputed by `_restore`.

A property or attribute `_input_dtype` is the dtype of the rows that the estimator was fitted on; batch classification
checks it. A classifier whose `predict` and `predict_proba` would each run a search defines a method that batch
classification calls instead of both:

    _predict_in_one_search(X) -> (positions in classes_, shares, result of kneighbors or None)

A map and a K-Means have one as well: `_nearest_unit(X) -> (distances, units)`.
"""

from somknn.persistence.container import FORMAT_VERSION, ModelFileError
from somknn.persistence.estimators import CLASSES, Savable, describe, input_schema, load, save

__all__ = [
    "CLASSES",
    "FORMAT_VERSION",
    "ModelFileError",
    "Savable",
    "describe",
    "input_schema",
    "load",
    "save",
]
