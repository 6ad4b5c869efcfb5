"""Data sets: reading returns what was written, and damage is rejected in one line before memory is allocated."""

import gzip
import io
import os
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from mutations import MUTATIONS, mutate
from somknn import datasets
from somknn.datasets import readers, sources
from somknn.datasets.labelled import Asked, read_csv


def idx_bytes(array):
    code = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[array.dtype.str[1:]]
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, 5, 4), dtype=np.uint8), (np.arange(40) % 4).astype(np.uint8)


def write_mnist_like(folder, images, ending=""):
    X, y = images
    pack = gzip.compress if ending else bytes
    parts = {"train_images": X, "train_labels": y, "test_images": X[::2], "test_labels": y[::2]}
    for part, array in parts.items():
        (folder / (sources.FILES[part] + ending)).write_bytes(pack(idx_bytes(array)))


def test_digits_need_no_network(monkeypatch):
    monkeypatch.setenv("SOMKNN_DATA", "/nowhere")
    d = datasets.load("digits")
    assert d.X_train.dtype == np.uint8
    assert d.X_train.shape == (1438, 64)
    assert d.target_names == list("0123456789")
    again = datasets.load("digits")
    np.testing.assert_array_equal(d.X_test, again.X_test)
    share = np.bincount(d.y_test) / np.bincount(np.concatenate([d.y_train, d.y_test]))
    assert np.ptp(share) < 0.02
    small = datasets.load("digits", train_size=100, test_size=50)
    assert (len(small.X_train), len(small.y_test)) == (100, 50)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_folder_file_and_pair(tmp_path, images, ending):
    write_mnist_like(tmp_path, images, ending)
    file = tmp_path / (sources.FILES["train_images"] + ending)
    for source in (tmp_path, file, str(file)):
        d = datasets.load(source, train_size=30)
        np.testing.assert_array_equal(d.X_train, images[0][:30].reshape(30, 20))
        np.testing.assert_array_equal(d.y_test, images[1][::2])
        assert d.image_shape == (5, 4)
        assert d.feature_names[:5] == ["pixel_0_0", "pixel_0_1", "pixel_0_2", "pixel_0_3", "pixel_1_0"]
    d = datasets.load((file, tmp_path / (sources.FILES["train_labels"] + ending)))
    assert len(d.X_test) == 8


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_idx_dtypes(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "a").write_bytes(idx_bytes(array))
    got = readers.read_idx(tmp_path / "a")
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype


def test_named_lookup(tmp_path, images, monkeypatch):
    (tmp_path / "mnist").mkdir()
    write_mnist_like(tmp_path / "mnist", images, ".gz")
    monkeypatch.setenv("SOMKNN_DATA", str(tmp_path))
    assert datasets.load("mnist").X_train.shape == (40, 20)
    monkeypatch.delenv("SOMKNN_DATA")
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path)
    assert datasets.load("mnist").name == "mnist"


def test_absent_and_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMKNN_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setitem(sources.MIRRORS, "mnist", ["http://127.0.0.1:9/", "http://127.0.0.1:9/b/"])
    with pytest.raises(FileNotFoundError, match=r"put its four IDX files .* into .*data.mnist or .*cache.mnist"):
        datasets.load("mnist")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(FileNotFoundError, match=r"pip install 'somknn\[download\]'"):
        datasets.load("mnist")


def test_download_is_checked_and_kept(tmp_path, images, monkeypatch):
    """A mirror that sends something else is skipped; a correct file is kept and not downloaded again."""
    good = gzip.compress(idx_bytes(images[0]))
    import hashlib

    digest = hashlib.sha256(idx_bytes(images[0])).hexdigest()
    for part in sources.FILES:
        monkeypatch.setitem(sources.CONTENT_SHA256["mnist"], part, digest)
    fetched = []

    class Pooch:
        HTTPDownloader = staticmethod(lambda **options: None)

        @staticmethod
        def get_logger():
            return type("Log", (), {"setLevel": staticmethod(lambda level: None)})

        @staticmethod
        def retrieve(url, known_hash, fname, path, downloader):
            fetched.append(url)
            target = os.path.join(path, fname)
            with open(target, "wb") as file:
                file.write(gzip.compress(b"an error page") if "bad" in url else good)
            return target

    monkeypatch.setitem(sources.MIRRORS, "mnist", ["http://bad/", "http://good/"])
    for _ in range(2):
        kept = sources._download(Pooch, "mnist", "train_images", tmp_path)
        assert kept.read_bytes() == good
    assert len(fetched) == 2
    monkeypatch.setitem(sources.MIRRORS, "mnist", ["http://bad/"])
    with pytest.raises(OSError, match="another SHA-256"):
        sources._download(Pooch, "mnist", "test_images", tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("header", ["", "label,a,b,c\n"])
def test_csv(tmp_path, header, ending):
    pack = gzip.compress if ending else bytes
    text = header + "".join(f"{i % 3},{i},{i + 1},{i + 2}\r\n" for i in range(30))
    (tmp_path / f"d_train.csv{ending}").write_bytes(pack(text.encode()))
    (tmp_path / f"d_test.csv{ending}").write_bytes(pack((header + "\n1,7,8,9.5\n").encode()))
    d = datasets.load(tmp_path / f"d_train.csv{ending}", train_size=20)
    assert d.X_train.dtype == d.X_test.dtype == np.float64
    np.testing.assert_array_equal(d.X_train[3], [3, 4, 5])
    np.testing.assert_array_equal(d.y_train[:4], [0, 1, 2, 0])
    np.testing.assert_array_equal(d.X_test, [[7, 8, 9.5]])
    assert d.feature_names == (["a", "b", "c"] if header else ["feature_0", "feature_1", "feature_2"])
    assert datasets.load(tmp_path, train_size=5).X_train.shape == (5, 3)


def test_the_image_shape_of_a_csv_is_told(tmp_path):
    (tmp_path / "d.csv").write_text("".join(f"{i % 2},{','.join(str(i * j) for j in range(6))}\n" for i in range(20)))
    assert datasets.load(tmp_path / "d.csv").image_shape is None
    assert datasets.load(tmp_path / "d.csv", image_shape=(2, 3)).image_shape == (2, 3)
    for shape in ((2, 2), (-2, -3), (0, 6)):
        with pytest.raises(ValueError, match=r"d\.csv: images of .* its rows 6"):
            datasets.load(tmp_path / "d.csv", image_shape=shape)


def test_csv_text_labels_and_quotes(tmp_path):
    (tmp_path / "d.csv").write_text('name,x\n"ant, red",1\n"bee",2\nant,255\n')
    table = read_csv(tmp_path / "d.csv", Asked(label=1))
    assert list(table.y) == ["ant, red", "bee", "ant"]
    assert table.X.dtype == np.uint8
    assert table.feature_names == ["x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,5,2\n1,3,x\n", r"d.csv, line 2, column 3: 'x' is not a finite number"),
        ("0,5,2\n\n1,,4\n", r"d.csv, line 3, column 2: a missing value: --impute mean, median or"),
        ("0,5,2\n1,nan,4\n", r"line 2, column 2: 'nan'"),
        ("0,5,2\n1,3\n", r"line 2: 2 values where 3 are expected"),
        ("0,5,2\n,3,4\n", r"line 2, column 1: the label is missing"),
        ("0,5,2\n1,1_0,4\n", r"line 2, column 2: '1_0' is not a finite number"),
        ("0,5,2\n1_0,3,4\n", r"line 2, column 1: '1_0' is not a label among numbers"),
        ("label,a,b\n0,5,2\n1,3,1_0\n", r"line 3, column 3 \(b\): '1_0' is not a finite number"),
        ("label,a,b\nnan,5,2\n1,3,1\n", r"line 2, column 1 \(label\): 'nan' is not a label among numbers"),
        ("label,a\n", r"no rows"),
        ("", r"no rows"),
        ("7\n", r"one column only"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        datasets.load(tmp_path / "d.csv")


def test_npy_and_npz(tmp_path, images):
    X, y = images
    rows = X.reshape(40, 20)
    np.save(tmp_path / "labelled.npy", np.column_stack([y, rows]))
    d = datasets.load(tmp_path / "labelled.npy")
    assert d.X_train.shape == (32, 20)
    np.save(tmp_path / "X_a.npy", np.asfortranarray(X))
    np.save(tmp_path / "y_a.npy", np.array(list("abcd"))[y])
    d = datasets.load(tmp_path / "X_a.npy")
    assert d.image_shape == (5, 4)
    assert d.target_names == list("abcd")
    np.savez_compressed(tmp_path / "k.npz", x_train=np.asfortranarray(X), y_train=y, x_test=X[:3], y_test=y[:3])
    d = datasets.load(tmp_path / "k.npz", train_size=10)
    np.testing.assert_array_equal(d.X_train, rows[:10])
    np.savez(tmp_path / "p.npz", X=rows, y=y)
    assert len(datasets.load(tmp_path / "p.npz").X_test) == 8
    np.savez(tmp_path / "q.npz", a=rows)
    with pytest.raises(ValueError, match="expected X_train"):
        datasets.load(tmp_path / "q.npz")


def test_label_count_and_sizes(tmp_path, images):
    np.savez(tmp_path / "p.npz", X=images[0], y=images[1][:-1])
    with pytest.raises(ValueError, match="40 rows but labels of shape"):
        datasets.load(tmp_path / "p.npz")
    for bad in (0, -1, 1.5, True, 10**6):
        with pytest.raises(ValueError, match="train_size"):
            datasets.load("digits", train_size=bad)
    with pytest.raises(FileNotFoundError, match="no such file or folder, nor a data set"):
        datasets.load("mnits")


def lying_files(folder):
    """Small files that declare gigabytes."""
    (folder / "lie.idx").write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**10, 2**10) + bytes(64))
    (folder / "lie.idx.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 2]) + struct.pack(">2I", 2**31, 16) + bytes(64)))
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (2**32, 1)})
    (folder / "lie.npy").write_bytes(head.getvalue())
    with zipfile.ZipFile(folder / "lie.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", head.getvalue())
    return {
        "lie.idx": readers.read_idx,
        "lie.idx.gz": readers.read_idx,
        "lie.npy": readers.map_npy,
        "lie.npz": readers.read_npz,
    }


def test_headers_that_promise_more_than_the_file_holds(tmp_path):
    for name, reader in lying_files(tmp_path).items():
        tracemalloc.start()
        with pytest.raises(ValueError, match="promises"):
            reader(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 4e6
        tracemalloc.stop()


def test_gzip_bomb_behind_a_small_header(tmp_path):
    """The header says 100 bytes; the following data would expand to 200 MB and is not read."""
    (tmp_path / "b.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 100) + bytes(200_000_000), 1))
    tracemalloc.start()
    with pytest.raises(ValueError, match="more bytes than the header promises"):
        readers.read_idx(tmp_path / "b.gz")
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def seed_files():
    rng = np.random.default_rng(1)
    array = rng.integers(0, 256, (6, 4), dtype=np.uint8)
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, array)
    np.savez_compressed(npz, X=array, y=np.arange(6))
    text = "label,a,b,c,d\n" + "\n".join(",".join(map(str, [i, *row])) for i, row in enumerate(array))
    return {
        "idx": (idx_bytes(array), readers.read_idx),
        "idx.gz": (gzip.compress(idx_bytes(array)), readers.read_idx),
        "npy": (npy.getvalue(), readers.map_npy),
        "npz": (npz.getvalue(), readers.read_npz),
        "csv": (text.encode(), read_csv),
        "csv.gz": (gzip.compress(text.encode()), read_csv),
    }


def fuzz(tmp_path, kind, mutations):
    raw, reader = seed_files()[kind]
    path = tmp_path / f"f.{kind}"
    path.write_bytes(mutate(raw, mutations))
    message = ""
    try:
        reader(path)
    except ValueError as error:
        message = str(error)
    assert "\n" not in message


FUZZ = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@pytest.mark.parametrize("kind", list(seed_files()))
@given(mutations=MUTATIONS)
@settings(max_examples=150, **FUZZ)
def test_mutated_files(tmp_path, kind, mutations):
    fuzz(tmp_path, kind, mutations)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(seed_files()))
@given(mutations=MUTATIONS)
@settings(max_examples=5000, **FUZZ)
def test_mutated_files_long(tmp_path, kind, mutations):
    fuzz(tmp_path, kind, mutations)


def test_augmented():
    d = datasets.load("digits")
    X = np.kron(d.X_train[:300].reshape(-1, 8, 8) * 15, np.ones((3, 3), np.uint8)).reshape(300, 576)
    rows = datasets.augmented(X, 2500, (24, 24), seed=3)
    np.testing.assert_array_equal(rows[:300], X)
    np.testing.assert_array_equal(rows, np.concatenate(list(datasets.iter_augmented(X, 2500, (24, 24), seed=3))))
    np.testing.assert_array_equal(rows[:1700], datasets.augmented(X, 1700, (24, 24), seed=3)[:1700])
    assert (rows[300:600] != X).any(axis=1).all()
    assert (datasets.augmented(X, 2500, (24, 24), seed=4)[300:] != rows[300:]).any()
    # A variant stays nearer to its own image than to most others.
    near = ((rows[300:600, None].astype(int) - X[None]) ** 2).sum(-1)
    rank = (near < np.diagonal(near)[:, None]).sum(1)
    assert np.median(rank) < 3
    with pytest.raises(ValueError, match="uint8 rows"):
        datasets.augmented(X.astype(float), 400, (24, 24))


@pytest.mark.mnist
@pytest.mark.skipif(
    not os.path.isdir(os.path.join(os.environ.get("SOMKNN_DATA", ""), "mnist")), reason="no MNIST files"
)
def test_mnist():
    d = datasets.load("mnist", train_size=6000, test_size=1000)
    assert d.X_train.shape == (6000, 784)
    assert list(d.y_train[:5]) == [5, 0, 4, 1, 9]
    assert list(d.y_test[:5]) == [7, 2, 1, 0, 4]
    for part, path in sources.locate("mnist").items():
        if path.suffix == ".gz":
            sources.check(path, "mnist", part)
