"""Saving and loading fitted estimators: one safetensors file, no pickle, everything checked on the way in.

For users: `estimator.save(path)` and `somknn.load(path)`.

For authors of estimators: inherit `Savable` and add the class to `CLASSES`. The parameters are saved through
`get_params`, the fitted state through two methods:

    _state_to_save() -> (arrays, state)     arrays by name (numbers, booleans) and a dict of further values
    _restore(arrays, state)                 on a new instance with its parameters; fills the fitted attributes

The default of both covers every public attribute that ends in "_": arrays (text too), numbers, text, None,
lists, tuples, dicts and other registered estimators. A class that keeps fitted state elsewhere overrides both.

A file is not trusted. A class says in `_saved_state` what each of these arrays and values may be (the kinds are in
`somknn.persistence.contents`), and in `_check_saved(values)` what that table cannot say; both are checked before
`_restore` is called, and before a file is written. Parameters are checked by `_check_parameters()`, which is scikit-learn's
`_validate_params` unless overridden. What follows from the rest is not saved: `_derived_state` names such attributes, which
`_restore` makes anew. A property or attribute `_input_dtype` tells the dtype of the rows that the
estimator was fitted on; batch classification checks it. A classifier whose `predict` and `predict_proba` would each
search defines `_predict_in_one_search(X) -> (positions in classes_, shares, what kneighbors returns or None)`, which
batch classification calls instead of both.
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
