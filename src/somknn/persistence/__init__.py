"""Saving and loading fitted estimators: one safetensors file, no pickle, everything checked on the way in.

For users: `estimator.save(path)` and `somknn.load(path)`.

For authors of estimators: inherit `Savable` and add the class to `CLASSES`. The parameters are saved through
`get_params`, the fitted state through two methods:

    _state_to_save() -> (arrays, state)     arrays by name (numbers, booleans) and a dict of further values
    _restore(arrays, state)                 on a new instance with its parameters; fills the fitted attributes

The default of both covers every public attribute that ends in "_": arrays (text too), numbers, text, None,
lists, tuples, dicts and other registered estimators. A class that keeps fitted state elsewhere overrides
both. `_restore` receives read-only arrays and must not trust them: `expect_array` checks shape, dtype and
range. Three class attributes help: `_array_layouts = {"centers_": ((None, "n_features_in_"), ("float64",))}` says what
shape (free, or that of another attribute) and dtype an array has, on which compiled code relies; `_index_limits = {"labels_": "classes_"}` says that values of the first are
positions in the second, and `_may_hold_nonfinite = {"codebook_"}` names arrays that may hold NaN or infinity;
everywhere else they are refused. A property or attribute `_input_dtype` tells the dtype of the rows that the
estimator was fitted on; batch classification checks it. A classifier whose `predict` and `predict_proba` would each
search defines `_predict_in_one_search(X) -> (positions in classes_, shares, what kneighbors returns or None)`, which
batch classification calls instead of both.
"""

from somknn.persistence.container import FORMAT_VERSION, ModelFileError
from somknn.persistence.estimators import CLASSES, Savable, describe, expect_array, input_schema, load, save

__all__ = [
    "CLASSES",
    "FORMAT_VERSION",
    "ModelFileError",
    "Savable",
    "describe",
    "expect_array",
    "input_schema",
    "load",
    "save",
]
