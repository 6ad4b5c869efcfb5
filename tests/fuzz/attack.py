"""Load mutants of saved models and use those that load, in a separate process that the tests monitor.

    python tests/fuzz/attack.py FOLDER FIRST STOP STEP

FOLDER contains saved models. The mutants FIRST, FIRST + STEP, … below STOP are made one by one; each depends only on
its number, so that a harmful one can be reproduced. The number is printed before each mutant, and any problem after it.
"""

import contextlib
import faulthandler
import json
import os
import resource
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from fuzz.mutants import mutant
from fuzz.saved_models import QUERIES, ROWS
from reference import cosine
from reference import search as reference
from somknn.neighbors.base import NeighborsBase
from somknn.persistence import ModelFileError, container, load
from somknn.search.cosine import CosineIndex
from somknn.search.index import ExactIndex

_SECONDS = 60  # time limit for one mutant
_MEMORY = 3_000_000_000  # bytes that a mutant may allocate beyond what the process has
_METHODS = ("predict", "predict_proba", "transform", "kneighbors", "kneighbors_graph")
_LOOKS = (
    "get_feature_names_out",
    "u_matrix",
    "component_planes",
    "topographic_product",
    "prototype_rows_",
    "model_bytes_",
    "recall_",
)


def check_neighbours(index: Any, queries: np.ndarray, k: int) -> None:
    """Raise AssertionError unless the squared distances and rows found equal those of the reference."""
    found = index.search(queries, k)
    twin = cosine if isinstance(index, CosineIndex) else reference
    expected = twin.nearest(queries, index.rows_, k)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


def use(model: Any) -> None:
    """Call the methods that a user would call.

    A one-line ValueError is acceptable: a parameter may be out of range for these rows.
    """
    width = getattr(model, "n_features_in_", QUERIES.shape[1])
    if width > 4096:
        return
    queries = np.resize(QUERIES, (len(QUERIES), width))
    twin = cosine if getattr(model, "metric", "") == "cosine" else reference
    # What scikit-learn says of numbers for an encoder of texts.
    texts = any(each.dtype == object for each in getattr(model, "categories_", []))
    expected = (ValueError, TypeError) if texts else ValueError
    for given in (queries, np.resize(ROWS, (40, width)) / 3):
        for name in _METHODS:
            if hasattr(model, name):
                with contextlib.suppress(expected):
                    getattr(model, name)(given)
        if isinstance(model, NeighborsBase):
            index, k = model.index_, min(5, model.n_samples_fit_)
            exact = getattr(index, "unit_index_", index)
            if isinstance(exact, ExactIndex):
                check_neighbours(index, given, k)
                exact._taken().built(1)  # otherwise brute force answers so few queries
                check_neighbours(index, given, k)
    for name in _LOOKS:
        with contextlib.suppress(ValueError, AttributeError):
            look = getattr(model, name)
            look() if callable(look) else None
    if hasattr(model, "cluster_centers_"):
        with contextlib.suppress(ValueError):  # squared distances beyond float64
            found = model.predict(queries)
            check = twin.nearest(queries, np.ascontiguousarray(model.cluster_centers_), 1)[1][:, 0]
            np.testing.assert_array_equal(found, check)
    if hasattr(model, "codebook_") and getattr(model, "missing_values", "") == "error":
        units = np.ascontiguousarray(model.codebook_.reshape(-1, width))
        np.testing.assert_array_equal(model.predict(queries), twin.nearest(queries, units, 1)[1][:, 0])
    if hasattr(model, "partial_fit"):
        with contextlib.suppress(ValueError):
            model.partial_fit(queries)


def attack(number: int, models: list[tuple[str, Any]], path: str) -> dict[str, Any]:
    """The result for mutant `number`: `loaded`, and `wrong` if it did something that no file may do."""
    random = np.random.default_rng(number)
    name, (arrays, document) = models[number % len(models)]
    container.write(path, *mutant(arrays, document, random))
    result: dict[str, Any] = {"number": number, "model": name, "loaded": False, "wrong": None}
    try:
        model = load(path)
    except ModelFileError as error:
        if "\n" in str(error):
            result["wrong"] = f"an error of several lines: {error}"
        return result
    except Exception as error:
        result["wrong"] = f"load raised {type(error).__name__}: {error}"
        return result
    result["loaded"] = True
    try:
        use(model)
    except Exception as error:
        result["wrong"] = f"{type(error).__name__}: {error}"
    return result


def main() -> None:
    folder, first, stop, step = sys.argv[1], *map(int, sys.argv[2:5])
    faulthandler.enable()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    models = [(file.name, container.read(file, memory_map=False)) for file in sorted(Path(folder).iterdir())]
    with open("/proc/self/statm") if os.path.exists("/proc/self/statm") else contextlib.nullcontext() as pages:
        if pages is not None:
            held = int(pages.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + _MEMORY, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as room:
        for number in range(first, stop, step):
            print(number, flush=True)
            faulthandler.dump_traceback_later(_SECONDS, exit=True)
            print(json.dumps(attack(number, models, os.path.join(room, "model"))), flush=True)
            faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
