"""Classification on a cluster writes the same files as one machine, whatever happens to workers."""

import gzip
import mmap
import os
import re
import subprocess
import sys
import time

import dask.array
import distributed
import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import somknn.batch
from clusters import kill_one, nannies
from somknn import KNeighborsClassifier
from somknn.distributed import ClusterError, classify, files, open_rows, predict
from somknn.distributed.cluster import turn

pytestmark = pytest.mark.dask


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).integers(0, 256, (500, 12), dtype=np.uint8)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    X = np.random.default_rng(1).integers(0, 256, (200, 12), dtype=np.uint8)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    KNeighborsClassifier(3, algorithm="brute").fit(X, np.array(["ant", "bee", "cat, red"])[X[:, 0] % 3]).save(path)
    return path


def write_idx(path, rows):
    header = bytes([0, 0, 8, 2]) + np.array(rows.shape, ">i4").tobytes()
    content = header + rows.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_parquet(path, rows):
    table = pa.table({f"f{j}": rows[:, j] for j in range(rows.shape[1])})
    pq.write_table(table, path, row_group_size=64)


def write_images(path, rows):
    path.mkdir()
    for i, row in enumerate(rows[:40]):
        PIL.Image.fromarray(row.reshape(3, 4)).save(path / f"{i:03d}.png")
    (path / "007.png").write_bytes(b"no image")


WRITERS = {
    "rows.npy": np.save,
    "columns.npy": lambda path, rows: np.save(path, np.asfortranarray(rows)),
    "rows.npz": lambda path, rows: np.savez(path, X=rows),
    "rows.idx": write_idx,
    "rows.idx.gz": write_idx,
    "rows.csv": lambda path, rows: np.savetxt(path, rows, delimiter=",", fmt="%d"),
    "rows.parquet": write_parquet,
    "images": write_images,
}


@pytest.mark.parametrize("name", WRITERS)
def test_same_bytes_as_one_machine(client, rows, model_file, tmp_path, name):
    source = tmp_path / name
    WRITERS[name](source, rows)
    options = {"chunk_bytes": 100 * 12, "top": 2, "neighbors": True, "on_bad_row": "quarantine"}
    one, many = tmp_path / "one.parquet", tmp_path / "many.parquet"
    expected = somknn.batch.classify(model_file, source, one, **options)
    seen = []
    summary = classify(model_file, source, many, client, progress=lambda *figures: seen.append(figures), **options)
    assert summary == expected
    assert summary.rejects == (1 if name == "images" else 0)
    assert one.read_bytes() == many.read_bytes()
    rejects = [tmp_path / f"{path.name}.rejects.csv" for path in (one, many)]
    assert rejects[0].read_bytes() == rejects[1].read_bytes()
    assert not (tmp_path / "many.parquet.parts").exists()
    assert seen[0][0] == 0
    assert seen[-1][0] == summary.rows + summary.rejects


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_by_name(client, rows, tmp_path, ending):
    """Workers read the columns of the model, in its order, and a bad row is told by its column in the file."""
    names, model_path, source = [f"c{i}" for i in range(12)], tmp_path / "model", tmp_path / f"rows.{ending}"
    frame = pd.DataFrame(rows.astype(float), columns=names)
    KNeighborsClassifier(3, algorithm="brute").fit(frame[:200], rows[:200, 0] % 3).save(model_path)
    frame.loc[77, "c2"] = np.nan
    frame = frame[names[::-1]].assign(kind="text")
    frame.to_csv(source, index=False) if ending == "csv" else frame.to_parquet(source, index=False, row_group_size=64)
    options = {"chunk_bytes": 100 * 12, "on_bad_row": "quarantine", "drop": ["kind"]}
    one, many = tmp_path / "one.npy", tmp_path / "many.npy"
    expected = somknn.batch.classify(model_path, source, one, **options)
    assert expected.rows == 499
    assert classify(model_path, source, many, client, **options) == expected
    assert many.read_bytes() == one.read_bytes()
    rejects = [path.with_name(path.name + ".rejects.csv").read_text() for path in (one, many)]
    assert rejects[0] == rejects[1]
    assert f"{source},77,{79 if ending == 'csv' else 0},10," in rejects[0]


def test_several_files_with_bad_rows(client, rows, model_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    floats = rows.astype(np.float64)
    floats[7, 3], floats[450, 0] = np.nan, 300
    np.save("a.npy", floats)
    np.savetxt("b.csv", rows[:50], delimiter=",", fmt="%d")
    for engine, output in ((somknn.batch.classify, "one.csv"), (classify, "many.csv")):
        summary = engine(model_file, ["a.npy", "b.csv"], output, on_bad_row="quarantine", chunk_bytes=9000)
        assert (summary.rows, summary.rejects) == (548, 2)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "many.csv").read_bytes()
    rejects = (tmp_path / "many.csv.rejects.csv").read_text()
    assert rejects == (tmp_path / "one.csv.rejects.csv").read_text()
    assert "a.npy,7,0,4,missing value" in rejects
    with pytest.raises(ValueError, match=r"a\.npy, row 7, column 4: missing value"):
        classify(model_file, ["a.npy", "b.csv"], "third.csv", client)


def test_dask_array(client, rows, model_file, tmp_path):
    floats = rows.astype(np.float32)
    floats[33, 1] = 0.5
    X = dask.array.from_array(floats, chunks=((100, 0, 250, 150), (5, 7)))
    summary = classify(model_file, X, tmp_path / "many.npy", client, on_bad_row="skip")
    assert (summary.rows, summary.rejects) == (499, 1)
    np.save(tmp_path / "rows.npy", floats)
    somknn.batch.classify(model_file, tmp_path / "rows.npy", tmp_path / "one.npy", on_bad_row="skip")
    assert (tmp_path / "one.npy").read_bytes() == (tmp_path / "many.npy").read_bytes()
    with pytest.raises(somknn.batch.BatchError, match="Dask array, row 33, column 2: out of range"):
        classify(model_file, X, tmp_path / "again.npy", client)


def test_predictions_as_a_dask_array(client, rows, model_file):
    model = somknn.load(model_file)
    X = dask.array.from_array(rows, chunks=(120, -1))
    labels, shares = predict(model_file, X), predict(model_file, X, "predict_proba")
    assert (labels.dtype, shares.shape) == (model.classes_.dtype, (500, 3))
    assert np.array_equal(labels.compute(), model.predict(rows))
    assert np.array_equal(shares.compute(), model.predict_proba(rows))
    with pytest.raises(ValueError, match="method"):
        predict(model_file, X, "fit")
    with pytest.raises(ValueError, match="no method transform"):
        predict(model_file, X, "transform")
    with pytest.raises(ValueError, match="features"):
        predict(model_file, X[:, :5])


class Stop(Exception):
    pass


def stop_after(rows):
    def progress(done, total):
        if done >= rows:
            raise Stop

    return progress


@pytest.mark.parametrize(("first", "second"), [("one", "many"), ("many", "one"), ("many", "many")])
def test_an_interrupted_run_is_continued_by_either_engine(client, rows, model_file, tmp_path, first, second):
    np.save(tmp_path / "rows.npy", rows)
    engines = {"one": somknn.batch.classify, "many": classify}
    arguments = (model_file, tmp_path / "rows.npy", tmp_path / "out.parquet")
    with pytest.raises(Stop):
        engines[first](*arguments, chunk_bytes=600, progress=stop_after(200))
    assert not (tmp_path / "out.parquet").exists()
    summary = engines[second](*arguments, chunk_bytes=600, resume=True)
    assert summary.rows == 500
    assert summary.resumed_rows >= 150
    somknn.batch.classify(*arguments[:2], tmp_path / "whole.parquet", chunk_bytes=600)
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_dask_array_is_continued_if_it_is_the_same(client, rows, model_file, tmp_path):
    X = dask.array.from_array(rows, chunks=(50, -1))
    output = tmp_path / "out.npy"
    with pytest.raises(Stop):
        classify(model_file, X, output, client, progress=stop_after(200))
    with pytest.raises(somknn.batch.ResumeError, match="input differs"):
        classify(model_file, X + 1, output, client, resume=True)
    assert classify(model_file, X, output, client, resume=True).resumed_rows >= 150
    assert np.array_equal(np.load(output)["label"], somknn.load(model_file).predict(rows))


def test_the_model_is_loaded_once_in_a_process_and_mapped(client, rows, model_file, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    classify(model_file, tmp_path / "rows.npy", tmp_path / "one.npy", client, chunk_bytes=120)
    digest = files.ModelFile.of(model_file).digest

    def loaded():
        model = files._models.get(digest)
        if model is None:
            return None
        base = model._index.rows_ if hasattr(model, "_index") else model._fit_X
        while isinstance(base, np.ndarray | memoryview):
            base = base.base if isinstance(base, np.ndarray) else base.obj
        return id(model), type(base)

    before = client.run(loaded)
    classify(model_file, tmp_path / "rows.npy", tmp_path / "two.npy", client, chunk_bytes=120)
    after = client.run(loaded)
    assert any(before.values())
    for worker, value in before.items():
        if value is not None:
            assert after[worker] == value
            assert value[1] is mmap.mmap


def test_a_file_that_is_another_on_the_worker(client, rows, model_file, tmp_path):
    other = tmp_path / "model.safetensors"
    KNeighborsClassifier(1).fit(rows, rows[:, 0] > 99).save(other)
    file = files.ModelFile.of(other)
    with open(other, "ab") as stream:
        stream.write(b" ")
    with pytest.raises(ValueError, match="another file than the client's"):
        client.submit(files.load_model, file).result()
    with pytest.raises(ValueError, match="does not exist on worker"):
        client.submit(files.load_model, file._replace(path=str(tmp_path / "absent"))).result()
    np.save(tmp_path / "rows.npy", rows)
    row_file = files.RowFile.of(tmp_path / "rows.npy")
    np.save(tmp_path / "rows.npy", rows[::-1])
    with pytest.raises(ValueError, match=r"rows\.npy on worker .* is another file"):
        client.submit(files.read_chunk, row_file, 10, 0).result()


def test_open_rows(client, rows, tmp_path):
    for name in ("rows.npy", "rows.idx", "rows.parquet"):
        WRITERS[name](tmp_path / name, rows)
        X = open_rows(tmp_path / name, block_rows=130)
        assert X.chunks[0] == (130, 130, 130, 110)
        assert np.array_equal(X.compute(), rows)
    write_idx(tmp_path / "rows.idx.gz", rows)
    with pytest.raises(ValueError, match=r"save them as \.npy"):
        open_rows(tmp_path / "rows.idx.gz")
    with pytest.raises(ValueError, match="block_rows must be at least 1"):
        open_rows(tmp_path / "rows.npy", block_rows=0)


def test_threads_of_a_worker_do_not_multiply(client):
    def busy(i):
        import builtins  # shared by all tasks of a process

        with turn() as n_threads:
            builtins.somknn_test_inside = getattr(builtins, "somknn_test_inside", 0) + 1
            inside = builtins.somknn_test_inside
            time.sleep(0.02)
            builtins.somknn_test_inside -= 1
        return n_threads, inside

    results = client.gather(client.map(busy, range(12), pure=False))
    assert set(results) == {(2, 1)}


def test_errors_name_what_is_wrong(client, rows, model_file, tmp_path):
    np.save(tmp_path / "narrow.npy", rows[:, :5])
    with pytest.raises(ValueError, match="rows of 5 values, the model expects 12"):
        classify(model_file, tmp_path / "narrow.npy", tmp_path / "out.npy", client)
    with pytest.raises(FileNotFoundError):
        classify(model_file, tmp_path / "absent.npy", tmp_path / "out.npy", client)
    with pytest.raises(TypeError, match=r"must be a distributed\.Client, got str"):
        classify(model_file, tmp_path / "narrow.npy", tmp_path / "out.npy", "tcp://host")
    with pytest.raises(ValueError, match="got 1 dimensions"):
        classify(model_file, dask.array.ones(5, chunks=2), tmp_path / "out.npy", client)
    unknown = dask.array.from_array(rows, chunks=(100, -1))
    unknown = unknown[unknown[:, 0] > 3]
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        classify(model_file, unknown, tmp_path / "out.npy", client)


def test_no_workers(rows, model_file, tmp_path):
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(ClusterError, match="has no workers"),
    ):
        classify(model_file, tmp_path / "rows.npy", tmp_path / "out.npy", client)


def test_a_killed_worker_changes_nothing(client, kill, rows, model_file, tmp_path):
    np.save(tmp_path / "rows.npy", np.tile(rows, (20, 1)))
    somknn.batch.classify(model_file, tmp_path / "rows.npy", tmp_path / "one.parquet", chunk_bytes=1200)

    def progress(done, total):
        if done == 1000:
            kill()

    classify(model_file, tmp_path / "rows.npy", tmp_path / "many.parquet", client, chunk_bytes=1200, progress=progress)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "many.parquet").read_bytes()


def test_a_killed_worker_that_nobody_replaces(unattended_client, rows, model_file, tmp_path):
    many_rows, before = np.tile(rows, (20, 1)), len(unattended_client.nthreads())

    def progress(done, total):
        if done == 1000:
            kill_one(unattended_client)

    X = dask.array.from_array(many_rows, chunks=(100, -1))
    classify(model_file, X, tmp_path / "many.npy", unattended_client, progress=progress)
    assert len(unattended_client.nthreads()) == before - 1
    assert np.array_equal(np.load(tmp_path / "many.npy")["label"], somknn.load(model_file).predict(many_rows))


def test_a_task_that_ends_every_worker_is_one_line(tmp_path, model_file):
    with nannies(2, 1) as client:
        X = dask.array.from_array(np.zeros((10, 12), np.uint8), chunks=(5, -1))
        deadly = X.map_blocks(lambda rows: os.kill(os.getpid(), 9), dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
        with pytest.raises(ClusterError, match="given up after") as caught:
            classify(model_file, deadly, tmp_path / "out.npy", client)
        assert "\n" not in str(caught.value)


def test_without_the_extra():
    program = """
import sys
import somknn
for absent in "distributed", "dask.array", "dask":
    sys.modules[absent] = None
    somknn.KNeighborsClassifier
    try:
        somknn.distributed
    except ImportError as error:
        print(error)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert len(answer.splitlines()) == 3
    for line in answer.splitlines():
        assert re.fullmatch(
            r"somknn\.distributed needs (distributed|dask(\.array)?): pip install 'somknn\[dask\]'", line
        )
