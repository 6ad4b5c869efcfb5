"""Model files: loading returns what was saved, and any other content is rejected in one line."""

import functools
import importlib
import itertools
import json
import os
import pickle
import pkgutil
import struct
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

import somknn
from mutations import MUTATIONS, mutate
from somknn import SOM, KMeans, KNeighborsClassifier, PrototypeClassifier, SOMClassifier, SOMFeatureSelector
from somknn.images import Blur, CenterDigit, DeformationClassifier, Deskew, GradientOrientation
from somknn.persistence import CLASSES, ModelFileError, Savable, container, describe, load, save
from somknn.persistence.contents import COLUMNS, Array, Classes, Fitted, Number, Optional, check_contents


class Anything:
    def check(self, name, value, values):
        pass


class Nearest(Savable, ClassifierMixin, BaseEstimator):
    """A small classifier with every kind of state that the default protocol saves."""

    _saved_state = {  # noqa: RUF012
        **COLUMNS,
        "classes_": Classes(),
        "codes_": Array((None,), "int64", below="classes_"),
        "rows_": Array((None, "n_features_in_"), ("uint8", "float64")),
        "scale_": Number(),
        "history_": Anything(),
        "helper_": Optional(Fitted("Nearest")),
    }

    def __init__(self, metric="euclidean", inner=None, option=None):
        self.metric = metric
        self.inner = inner
        self.option = option

    def fit(self, X, y):
        X = np.asarray(X)
        self.n_features_in_ = X.shape[1]
        self.classes_, self.codes_ = np.unique(y, return_inverse=True)
        self.rows_ = X
        self.scale_ = np.float32(1.5)
        self.history_ = [1.0, float("nan"), (2, "three"), {"epoch": None}]
        return self

    @property
    def _input_dtype(self):
        return self.rows_.dtype

    def predict(self, X):
        d = ((np.asarray(X, float)[:, None] - self.rows_[None]) ** 2).sum(-1)
        return self.classes_[self.codes_[d.argmin(1)]]


class Half(Savable, TransformerMixin, BaseEstimator):
    _saved_state = COLUMNS

    def fit(self, X, y=None):
        self.n_features_in_ = np.asarray(X).shape[1]
        return self

    def transform(self, X):
        return np.asarray(X) / 2


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(CLASSES, "Nearest", f"{__name__}:Nearest")
    monkeypatch.setitem(CLASSES, "Half", f"{__name__}:Half")


def public_estimators():
    """Every estimator class that a module of the package defines under a public name."""
    found = set()
    for module in pkgutil.walk_packages(somknn.__path__, "somknn."):
        for cls in vars(importlib.import_module(module.name)).values():
            if isinstance(cls, type) and cls.__module__ == module.name and not cls.__name__.startswith("_"):
                found.update({cls} if issubclass(cls, BaseEstimator) else ())
    return found


# A search over parameters: users save its result, `best_estimator_`.
NOT_SAVED = {"KNeighborsClassifierCV", "KNeighborsRegressorCV"}


def test_every_estimator_can_be_saved():
    """Otherwise a user would discover a missing `save`, or an unregistered class, after hours of training."""
    # Classes that are only inherited from have no __init__ of their own.
    estimators = {cls for cls in public_estimators() if "__init__" in vars(cls) or cls.__name__ in CLASSES}
    estimators = {cls for cls in estimators if cls.__name__ not in NOT_SAVED}
    assert len(estimators) >= 8
    assert [cls.__name__ for cls in estimators if not issubclass(cls, Savable)] == []
    places = {f"{cls.__module__}.{cls.__name__}": CLASSES.get(cls.__name__, "not in CLASSES") for cls in estimators}
    for name, place in places.items():
        module, _, attribute = place.partition(":")
        assert attribute, f"{name} is missing from CLASSES"
        found = getattr(importlib.import_module(module), attribute)
        assert f"{found.__module__}.{found.__name__}" == name
        # The short form is the public one: it stays the same when a class moves to another file.
        assert module.count(".") == 1


@pytest.fixture
def fitted(rng=None):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, (30, 5), dtype=np.uint8)
    return Nearest(option=(1, 2.5)).fit(X, rng.choice(["ant", "bee", "çedilla"], 30)), X


@pytest.fixture
def model_file(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted[0].save(path)
    return path


def rewrite(path, change, *, fix_digest=True):
    """Apply `change` to the decoded envelope of a model file and write it back, header length and all."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    envelope = json.loads(header["__metadata__"][container.FORMAT])
    change(envelope, header)
    if fix_digest:
        envelope["body_sha256"] = container._text_digest(container._canonical(envelope["body"]))
    header["__metadata__"][container.FORMAT] = json.dumps(envelope)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


@pytest.mark.parametrize("memory_map", [True, False])
def test_round_trip(fitted, model_file, memory_map):
    model, X = fitted
    again = load(model_file, memory_map=memory_map)
    assert type(again) is Nearest
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.rows_.dtype == np.uint8
    assert not again.rows_.flags.writeable
    assert again.scale_ == np.float32(1.5)
    assert type(again.scale_) is np.float32
    assert again.history_[2:] == [(2, "three"), {"epoch": None}]
    assert np.isnan(again.history_[1])
    assert somknn.load is load


def test_any_safetensors_reader_can_open_it(fitted, model_file):
    tensors = load_file(model_file)
    np.testing.assert_array_equal(tensors["rows_"], fitted[0].rows_)
    header = describe(model_file)
    assert header["estimator"]["class"] == "Nearest"
    assert header["input"] == {"n_features": 5, "dtype": "uint8", "feature_names": None}
    assert header["classes"] == ["ant", "bee", "çedilla"]


def test_same_model_same_bytes(fitted, model_file, tmp_path):
    fitted[0].save(tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == model_file.read_bytes()
    load(model_file).save(model_file)  # replaces the file that it is mapped from
    assert (tmp_path / "other").read_bytes() == model_file.read_bytes()


def test_feature_names_and_object_labels(tmp_path):
    model = Nearest().fit([[0.0, 1.0], [2.0, 3.0]], np.array(["a", "b"], dtype=object))
    model.feature_names_in_ = np.array(["left", "right"], dtype=object)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.feature_names_in_.dtype == object
    assert list(again.feature_names_in_) == ["left", "right"]
    assert again.classes_.dtype == object
    assert describe(tmp_path / "m")["input"]["feature_names"] == ["left", "right"]


def test_estimator_inside_estimator(fitted, tmp_path):
    model, X = fitted
    outer = Nearest(inner=Nearest().fit(X, np.arange(30))).fit(X, np.arange(30) % 3)
    outer.helper_ = model
    outer.save(tmp_path / "m")
    again = load(tmp_path / "m")
    np.testing.assert_array_equal(again.inner.codes_, np.arange(30))
    np.testing.assert_array_equal(again.helper_.predict(X), model.predict(X))


def test_pipeline(tmp_path, fitted):
    X = fitted[1]
    pipeline = make_pipeline(Half(), Nearest(), memory=str(tmp_path / "cache")).fit(X, np.arange(30) % 4)
    save(pipeline, tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.memory is None
    np.testing.assert_array_equal(again.predict(X), pipeline.predict(X))


@given(
    hnp.arrays(
        st.sampled_from(["u1", "<i4", ">i4", "<f4", "<f8", ">f8", "?", "<u8"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
@settings(deadline=None, max_examples=60)
def test_arrays_come_back(tmp_path_factory, array):
    path = tmp_path_factory.getbasetemp() / "array"
    for source in (array, array.T, array[::-1] if array.ndim else array):
        container.write(path, {"x": source, "y": np.zeros(3, np.uint8)}, {"n": 1})
        arrays, document = container.read(path)
        np.testing.assert_array_equal(arrays["x"], source)
        assert arrays["x"].dtype == source.dtype.newbyteorder("=")
        assert document == {"n": 1}


def test_what_cannot_be_saved(tmp_path, fitted):
    model, X = fitted
    path = tmp_path / "m"
    with pytest.raises(NotFittedError):
        Nearest().save(path)
    with pytest.raises(TypeError, match=r"parameter 'metric' of Nearest is a function"):
        Nearest(metric=lambda d: d).fit(X, X[:, 0]).save(path)
    with pytest.raises(TypeError, match=r"parameter 'option' of Nearest is a RandomState"):
        Nearest(option=np.random.RandomState(0)).fit(X, X[:, 0]).save(path)
    with pytest.raises(TypeError, match=r"parameter 'option' of Nearest\[1\] is a Generator"):
        Nearest(option=[1, np.random.default_rng(0)]).fit(X, X[:, 0]).save(path)
    with pytest.raises(ValueError, match=r"array 'rows_' holds NaN"):
        Nearest().fit([[np.nan]], [0]).save(path)
    from sklearn.preprocessing import QuantileTransformer

    with pytest.raises(TypeError, match="QuantileTransformer cannot be saved"):
        save(make_pipeline(QuantileTransformer(n_quantiles=5), Nearest()).fit(X, X[:, 0]), path)
    with pytest.raises(FileNotFoundError, match="folder"):
        model.save(tmp_path / "absent" / "m")
    with pytest.raises(IsADirectoryError):
        model.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_failed_save_leaves_the_old_file(fitted, model_file, monkeypatch):
    before = model_file.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        Nearest().fit([[1.0]], [0]).save(model_file)
    assert model_file.read_bytes() == before
    assert [p.name for p in model_file.parent.iterdir()] == [model_file.name]


def change_version(envelope, header):
    envelope["format_version"] = 2


def change_class(envelope, header):
    envelope["body"]["model"]["estimator"]["class"] = "os:system"


def change_parameter(envelope, header):
    envelope["body"]["model"]["estimator"]["params"]["newer_option"] = 1


def change_state(envelope, header):
    envelope["body"]["model"]["estimator"]["state"]["predict"] = 1


def change_array_name(envelope, header):
    envelope["body"]["model"]["estimator"]["arrays"]["rows_"] = "elsewhere"


def change_array_roles(envelope, header):
    places = envelope["body"]["model"]["estimator"]["arrays"]
    places["codes_"] = places["rows_"]


def change_digest(envelope, header):
    envelope["body"]["tensors"]["rows_"]["sha256"] = "0" * 64


def change_overlap(envelope, header):
    begin, end = header["rows_"]["data_offsets"]
    assert begin >= 8
    header["rows_"]["data_offsets"] = [begin - 8, end - 8]


def change_huge(envelope, header):
    header["rows_"]["shape"] = [2**40, 2**40]


def change_dtype(envelope, header):
    header["codes_"]["dtype"] = "F64"


def change_kind(envelope, header):
    envelope["body"]["model"]["estimator"]["state"]["n_features_in_"] = {"$eval": "1+1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_version, r"format version 2 is newer than this somknn reads \(1\)"),
        (change_class, "holds a 'os:system'"),
        (change_parameter, "no parameter 'newer_option'"),
        (change_state, "no fitted attribute 'predict'"),
        (change_array_name, "'rows_' is missing"),
        (change_array_roles, "'codes_' has dtype uint8, not int64"),
        (change_digest, "does not match its digest"),
        (change_overlap, "overlap or leave a gap"),
        (change_huge, "size of array 'rows_'"),
        (change_dtype, "dtype of array 'codes_'"),
        (change_kind, "unknown kind"),
    ],
)
def test_forged_files_are_refused(model_file, change, message):
    rewrite(model_file, change)
    with pytest.raises(ModelFileError, match=message) as caught:
        load(model_file)
    assert "\n" not in str(caught.value)
    assert str(model_file) in str(caught.value)


def test_other_files_are_refused(tmp_path, fitted, model_file):
    path = tmp_path / "m"
    path.write_bytes(pickle.dumps(fitted[0].rows_))
    with pytest.raises(ModelFileError, match="pickle"):
        load(path)
    save_file({"x": np.zeros(3)}, path)
    with pytest.raises(ModelFileError, match="not a somknn model"):
        load(path)
    for content in (b"", b"PK\x03\x04" + bytes(100), b"\x93NUMPY" + bytes(100), bytes(8) + b"{}"):
        path.write_bytes(content)
        with pytest.raises(ModelFileError):
            load(path)
    nested = b'{"a":' + b"[" * 100_000
    path.write_bytes(struct.pack("<Q", len(nested)) + nested)
    with pytest.raises(ModelFileError):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)
    rewrite(model_file, lambda envelope, header: envelope["body"].update(extra=1), fix_digest=False)
    with pytest.raises(ModelFileError, match="header does not match its digest"):
        load(model_file)


def test_nonfinite_array_is_refused_on_load(tmp_path, fitted, monkeypatch):
    model = Nearest().fit([[1.0, np.inf]], [0])
    lax = Array((None, None), "float64", finite=False)
    monkeypatch.setattr(Nearest, "_saved_state", {**Nearest._saved_state, "rows_": lax})
    model.save(tmp_path / "m")
    assert np.isinf(load(tmp_path / "m").rows_).any()
    monkeypatch.setattr(Nearest, "_saved_state", {**Nearest._saved_state, "rows_": lax._replace(finite=True)})
    with pytest.raises(ModelFileError, match="'rows_' holds NaN or infinity"):
        load(tmp_path / "m")


def test_every_truncation_and_every_flipped_byte_is_noticed(model_file, tmp_path):
    raw = model_file.read_bytes()
    path = tmp_path / "damaged"
    for length in range(0, len(raw), 7):
        path.write_bytes(raw[:length])
        with pytest.raises(ModelFileError):
            load(path)
    path.write_bytes(raw + b"\0")
    with pytest.raises(ModelFileError):
        load(path)
    for position in range(0, len(raw), 5):
        damaged = bytearray(raw)
        damaged[position] ^= 0x41
        path.write_bytes(damaged)
        try:
            again = load(path)
        except ModelFileError:
            continue
        # White space of the outer header is the only part not covered by the digests.
        np.testing.assert_array_equal(again.rows_, load(model_file).rows_)


@functools.cache
def small_model() -> bytes:
    arrays = {"a": np.arange(3), "b": np.ones((2, 2), np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        container.write(os.path.join(folder, "m"), arrays, {"estimator": {"class": "Half"}})
        with open(os.path.join(folder, "m"), "rb") as file:
            return file.read()


@given(MUTATIONS)
@settings(deadline=None, max_examples=500)
def test_mutated_containers(tmp_path_factory, mutations):
    raw = small_model()
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(mutate(raw, mutations))
    try:
        arrays, _ = container.read(path)
    except ModelFileError:
        return
    np.testing.assert_array_equal(arrays["a"], np.arange(3))


TAGS = ["$array", "$float", "$scalar", "$dtype", "$type", "$tuple", "$dict", "$objects", "$estimator"]
FIELDS = ["kind", "shape", "values", "class", "params", "arrays", "state", "steps"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*TAGS, *FIELDS]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def mapping(names, values):
    return st.dictionaries(st.sampled_from(names), values, max_size=3) | JSON


@given(
    st.fixed_dictionaries(
        {
            "class": st.sampled_from(["Half", "Nearest", "Pipeline", "SOM"]) | JSON,
            "params": st.dictionaries(st.sampled_from(["metric", "inner", "steps", "verbose"]), JSON, max_size=2)
            | JSON,
            "arrays": st.dictionaries(st.sampled_from(["rows_", "codes_", "x"]), st.sampled_from(["a", "b", "c"]))
            | JSON,
            "state": st.dictionaries(st.sampled_from(["classes_", "n_features_in_", "fit", "__class__"]), JSON) | JSON,
        }
    )
)
@settings(deadline=None, max_examples=300)
def test_any_document_with_a_right_digest(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "document"
    arrays = {"a": np.arange(3), "b": np.ones((2, 2), np.float32)}
    container.write(path, arrays, {"estimator": content})
    message = ""
    try:
        load(path)
    except ModelFileError as error:
        message = str(error)
    assert "\n" not in message


def test_arrays_against_a_table():
    arrays = {"i": np.array([0, 3]), "f": np.zeros((2, 3), np.float32)}
    check_contents({"i": Array((2,), "int64", below=4), "f": Array((None, 3), ("float64", "float32"))}, arrays)
    check_contents({"i": Array((None,), "int64", below=4), "f": Array(("i", None), "float32")}, arrays)
    for name, kind in (
        ("x", Array((None,), "int64")),
        ("i", Array((None,), "int64", below=3)),
        ("f", Array((None, None), "float32", below=3)),
        ("f", Array((3, None), "float32")),
        ("f", Array((2,), "float32")),
        ("f", Array((None, None), "float64")),
        ("f", Array((None, "i"), "float32")),
    ):
        with pytest.raises(ModelFileError, match=f"'{name}'"):
            check_contents({name: kind, "*": Anything()}, arrays)
    with pytest.raises(ModelFileError, match="'x' is missing"):  # another attribute should have its length
        check_contents({"f": Array(("x", None), "float32"), "*": Anything()}, arrays)
    with pytest.raises(ModelFileError, match="no fitted attribute 'f'"):
        check_contents({"i": Anything()}, arrays)


def test_reading_imports_no_pickle_machinery(model_file):
    """The container can be read without any module that could run code from a file."""
    code = (
        "import sys; from somknn.persistence import container; container.read(sys.argv[1]); "
        "assert 'joblib' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(model_file)], check=True)


def _models_with_arrays():
    rows = np.random.default_rng(0).integers(0, 256, (60, 9), dtype=np.uint8)
    labels = rows[:, 0] % 3
    return {
        "prototypes_": PrototypeClassifier(n_prototypes=12, random_state=0).fit(rows, labels),
        "prototype_codes_": PrototypeClassifier(n_prototypes=12, random_state=0).fit(rows, labels),
        "cluster_centers_": KMeans(4, random_state=0).fit(rows),
        "codebook_": SOM(3, 3, epochs=1, random_state=0).fit(rows),
    }


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *itertools.product(["prototypes_", "cluster_centers_", "codebook_"], ["narrower", "flat", "other", "missing"]),
        *itertools.product(["prototype_codes_"], ["shorter", "flat", "other", "missing", "out of range"]),
    ],
)
def test_arrays_that_kernels_would_read_past(tmp_path, name, change):
    """A digest is not a signature: a malicious file has correct ones, and compiled code does not check lengths."""
    path = tmp_path / "m"
    _models_with_arrays()[name].save(path)
    arrays, document = container.read(path, memory_map=False)
    array = arrays[name]
    arrays[name] = {
        "narrower": lambda: array[..., :-1],
        "shorter": lambda: array[:-1],
        "flat": lambda: array.reshape(-1) if array.ndim > 1 else array[:, None],
        "other": lambda: array.astype(np.int16),
        "missing": lambda: array,
        "out of range": lambda: array + 1,
    }[change]()
    if change == "missing":
        del document["estimator"]["arrays"][name]
    container.write(path, arrays, document)
    with pytest.raises(ModelFileError, match=r"^[^\n]*$"):
        load(path)


def forged(path, change):
    """The model at `path` with its document and arrays changed, and correct digests."""
    arrays, document = container.read(path, memory_map=False)
    change(arrays, document["estimator"])
    container.write(path, arrays, document)
    return path


def test_what_follows_from_parameters_is_not_read_from_a_file(tmp_path):
    """A grid of one sample in a file made the transformer write 81 samples into memory for one."""
    images = np.random.default_rng(0).integers(0, 256, (5, 784), dtype=np.uint8)
    for model, state in (
        (GradientOrientation(), {"grid_shape_": {"$tuple": [1, 1]}, "step_": 28, "image_shape_": {"$tuple": [1, 1]}}),
        (Deskew(), {"image_shape_": {"$tuple": [1, 784]}}),
        (CenterDigit(), {"box_": 4000}),
        (DeformationClassifier(n_candidates=5), {"image_shape_": {"$tuple": [1, 784]}, "pixel_range_": 1e-9}),
    ):
        model.fit(images, np.arange(5) % 2).save(tmp_path / "m")
        again = load(forged(tmp_path / "m", lambda arrays, content, state=state: content["state"].update(state)))
        method = "predict" if hasattr(model, "predict") else "transform"
        np.testing.assert_array_equal(getattr(again, method)(images), getattr(model, method)(images))


def test_codes_in_a_file_are_not_read(tmp_path):
    """Codes of other rows in a file made a search return rows that do not exist; they are now recomputed."""
    rows = np.random.default_rng(0).integers(0, 256, (300, 64), dtype=np.uint8)
    model = KNeighborsClassifier(3, algorithm="pruned").fit(rows, rows[:, 0] % 3)
    model.save(tmp_path / "m")

    def change(arrays, content):
        arrays["screen_codes"] = np.full((300, 128), 127, np.int8)
        arrays["screen_errors"] = np.zeros((2, 3))
        content["arrays"].update({name: name for name in ("screen_codes", "screen_errors")})

    again = load(forged(tmp_path / "m", change))
    for _ in range(5):
        np.testing.assert_array_equal(again.predict(rows), model.predict(rows))
        np.testing.assert_array_equal(again.kneighbors(rows)[1], model.kneighbors(rows)[1])
    assert again.index_.search_stats_["queries"] == 300


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("size", 20_000),
        ("n_jobs", {"$dict": {"a": 1}}),
        ("n_jobs", "all"),
        ("n_jobs", True),
        ("n_jobs", 0),
        ("polarity", [[["auto"]]]),
        ("image_shape", {"$tuple": [2**40, 2**40]}),
        ("image_shape", {"$array": "pixels"}),
    ],
)
def test_parameters_that_fit_would_refuse_are_refused(tmp_path, parameter, value):
    CenterDigit().fit(np.zeros((2, 784), np.uint8)).save(tmp_path / "m")

    def change(arrays, content):
        arrays["pixels"] = np.ones((3, 3))
        content["params"][parameter] = value

    with pytest.raises(ModelFileError, match=r"^[^\n]*$"):
        load(forged(tmp_path / "m", change))


def test_a_gaussian_of_any_width_is_refused(tmp_path):
    """sigma = 1e8 asked for 6 GB to sample the Gaussian."""
    images = np.zeros((2, 64), np.uint8)
    with pytest.raises(ValueError, match="sigma"):
        Blur(1e8).fit(images)
    Blur(1).fit(images).save(tmp_path / "m")
    with pytest.raises(ModelFileError, match="sigma"):
        load(forged(tmp_path / "m", lambda arrays, content: content["params"].update(sigma=1e8)))


def change_selected(arrays, content):
    arrays["selected_"] = arrays["selected_"] + 9


def change_map(arrays, content):
    arrays["label_map_"] = arrays["label_map_"][:2]


def change_shares(arrays, content):
    arrays["probability_map_"] = arrays["probability_map_"][..., :1]


def change_labels(arrays, content):
    arrays["label_map_"] = arrays["label_map_"] + 9


def change_units(arrays, content):
    arrays["som_/labels_"] = arrays["som_/labels_"] + 9


def change_inner(arrays, content):
    content["state"]["som_"] = 3


def change_to_unfitted(arrays, content):
    content["state"]["som_"]["$estimator"] |= {"state": {}, "arrays": {}}


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (SOMFeatureSelector, change_selected),
        (SOMFeatureSelector, change_units),
        (SOMFeatureSelector, change_to_unfitted),
        *itertools.product(
            [SOMClassifier],
            [change_map, change_shares, change_labels, change_units, change_inner, change_to_unfitted],
        ),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(tmp_path, model, change):
    rows = np.random.default_rng(0).integers(0, 256, (60, 9), dtype=np.uint8)
    model(SOM(3, 3, epochs=1, random_state=0)).fit(rows, rows[:, 0] % 3).save(tmp_path / "m")
    with pytest.raises(ModelFileError, match=r"^[^\n]*$"):
        load(forged(tmp_path / "m", change))


@pytest.mark.parametrize("error", [MemoryError("std::bad_alloc"), RuntimeError("of a library"), AssertionError()])
def test_no_other_error_leaves_load(tmp_path, fitted, model_file, monkeypatch, error):
    def fail(self, arrays, state):
        raise error

    monkeypatch.setattr(Nearest, "_restore", fail)
    with pytest.raises(ModelFileError, match=r"^[^\n]*$"):
        load(model_file)


def test_an_extra_that_a_model_needs_is_named(model_file, monkeypatch):
    def fail(self, arrays, state):
        raise ImportError("needs a package: pip install 'somknn[extra]'")

    monkeypatch.setattr(Nearest, "_restore", fail)
    with pytest.raises(ImportError, match=r"somknn\[extra\]"):
        load(model_file)


def test_strided_arrays_are_made_contiguous(tmp_path, monkeypatch):
    """safetensors 0.8 silently writes a strided array's bytes in memory order: strided arrays must not reach it."""
    seen = []
    monkeypatch.setattr(
        container, "save_file", lambda arrays, *rest, **more: seen.append(arrays) or save_file(arrays, *rest, **more)
    )
    grid = np.arange(24).reshape(4, 6)
    given = {"turned": grid.T, "stepped": grid[::2, ::3], "backwards": grid[::-1], "fortran": np.asfortranarray(grid)}
    container.write(tmp_path / "m", given, {})
    assert all(array.flags.c_contiguous for array in seen[0].values())
    for name, array in container.read(tmp_path / "m")[0].items():
        np.testing.assert_array_equal(array, given[name])


def test_two_outputs_with_different_numbers_of_classes(tmp_path):
    rows = np.arange(12.0)[:, None]
    targets = np.stack([np.arange(12) % 3, np.arange(12) % 2], axis=1)
    model = KNeighborsClassifier(1).fit(rows, targets)
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").predict(rows), targets)
    assert describe(tmp_path / "m")["classes"] == ["0", "1", "2", "0", "1"]
