"""k-NN classification: fit, predict, vote, saved models, tuning, files; with error rates."""

import os

import numpy as np

from .data import SOURCES, WithData, feature, keep_compiled, tracked

SETTINGS = ("k=1", "k=5", "k=4, distance")


def make_classifier(setting):
    k, _, weights = setting.removeprefix("k=").partition(", ")
    return feature("somknn", "KNeighborsClassifier")(int(k), weights=weights or "uniform")


class Classifier(WithData):
    """`KNeighborsClassifier` on all training and test rows."""

    params = (SOURCES, SETTINGS)
    param_names = ("source", "setting")

    def setup_cache(self):
        return keep_compiled(
            lambda rows, labels: [make_classifier(s).fit(rows, labels).predict(rows) for s in SETTINGS]
        )

    def setup(self, kept, source, setting):
        self.read(kept, source)
        self.model = make_classifier(setting).fit(self.X_train, self.y_train)
        self.model.predict(self.X_test[:100])

    def time_fit(self, kept, source, setting):
        self.model.fit(self.X_train, self.y_train)

    def time_predict(self, kept, source, setting):
        self.model.predict(self.X_test)

    def peakmem_fit_and_predict(self, kept, source, setting):
        self.model.fit(self.X_train, self.y_train).predict(self.X_test)

    @tracked("share of test rows (error rate)")
    def track_error_rate(self, kept, source, setting):
        return float(np.mean(self.model.predict(self.X_test) != self.y_test))


class Vote:
    """The vote alone: 200,000 rows, 10 classes, given neighbours. The data is random, so it has no source."""

    params = ((5, 50), ("uniform", "distance"))
    param_names = ("k", "weights")
    version = "2"
    number = 1
    repeat = 5
    warmup_time = 0

    def setup(self, k, weights):
        vote, weigh = feature("somknn.neighbors.weighting", "winning_codes", "neighbour_weights")
        rng = np.random.default_rng(0)
        codes = rng.integers(0, 10, 60_000)
        neighbours = rng.integers(0, 60_000, (200_000, k))
        squared = np.sort(rng.integers(1, 10**7, (200_000, k)), axis=1)

        def run():
            chosen = weigh(weights, squared, None)
            vote(codes, 10, (squared, neighbours), chosen, nearest_first=True, n_jobs=None)

        self.run = run
        self.run()

    def time_vote(self, k, weights):
        self.run()


class SavedModel(WithData):
    """Save and load a model of all training rows, including its index."""

    def setup(self, kept, source):
        self.read(kept, source)
        self.load = feature("somknn", "load")
        self.model = make_classifier("k=5").fit(self.X_train, self.y_train)
        feature("somknn.persistence", "Savable")
        self.path = f"model-{os.getpid()}.safetensors"
        self.model.save(self.path)
        self.load(self.path)

    def teardown(self, kept, source):
        if hasattr(self, "path") and os.path.exists(self.path):
            os.unlink(self.path)

    def time_save(self, kept, source):
        self.model.save(self.path)

    def time_load(self, kept, source):
        self.load(self.path)

    def time_load_and_classify_one(self, kept, source):
        self.load(self.path).predict(self.X_test[:1])

    @tracked("bytes of the file per byte of training data")
    def track_size(self, kept, source):
        return os.path.getsize(self.path) / self.X_train.nbytes


class Tuning(WithData):
    """k = 1 to 30 with both weightings, 10 folds, on the first 6,000 training rows."""

    def setup(self, kept, source):
        self.read(kept, source)
        search = feature("somknn", "KNeighborsClassifierCV")
        self.rows, self.labels = self.X_train[:6_000], self.y_train[:6_000]
        self.search = search(range(1, 31), refit=False, tie_break="first")
        self.search.fit(self.rows[:600], self.labels[:600])

    def time_fit(self, kept, source):
        self.search.fit(self.rows, self.labels)

    @tracked("share of rows (cross-validated error rate of the best)")
    def track_error_rate(self, kept, source):
        return 1 - float(self.search.fit(self.rows, self.labels).best_score_)


class RegressorTuning(WithData):
    """The same of a regressor, 5 folds; the target is the mean grey level of the next row."""

    def setup(self, kept, source):
        self.read(kept, source)
        search = feature("somknn.evaluation", "KNeighborsRegressorCV")
        self.rows = self.X_train[:6_000]
        self.values = np.roll(self.rows.mean(axis=1), 1)
        self.search = search(range(1, 31), cv=5).fit(self.rows[:600], self.values[:600])

    def time_fit(self, kept, source):
        self.search.fit(self.rows, self.values)


class Reading(WithData):
    """The test rows, repeated five times, from a file to chunks of 64 MB, without a model."""

    params = (SOURCES, ("parquet lists", "parquet float lists", "csv"))
    param_names = ("source", "format")

    def setup(self, kept, source, format):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.read(kept, source)
        open_source = feature("somknn.batch.sources", "open_source")
        self.path = f"rows-{os.getpid()}.{format.partition(' ')[0]}"
        rows = np.tile(self.X_test, (5, 1))
        if format == "csv":
            np.savetxt(self.path, rows, fmt="%d", delimiter=",")
        else:
            flat = pa.array((rows / np.float32(255) if "float" in format else rows).ravel())
            table = pa.table({"x": pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])})
            pq.write_table(table, self.path, compression="zstd", row_group_size=20_000)

        def work():
            found = open_source(self.path)
            return sum(len(chunk.values) for chunk in found.chunks(64_000_000 // rows.shape[1], None))

        self.work = work
        assert work() == len(rows)

    def teardown(self, kept, source, format):
        if hasattr(self, "path") and os.path.exists(self.path):
            os.unlink(self.path)

    def time_read(self, kept, source, format):
        self.work()


class Batch(WithData):
    """`somknn.batch.classify`: the test rows, repeated five times, from a file to a file."""

    params = (SOURCES, ("npy", "parquet"))
    param_names = ("source", "format")

    def setup_cache(self):
        return keep_compiled(lambda rows, labels: make_classifier("k=5").fit(rows, labels).predict(rows))

    def setup(self, kept, source, format):
        self.classify = feature("somknn.batch", "classify")
        self.read(kept, source)
        self.model, self.input = f"batch-{os.getpid()}.safetensors", f"input-{os.getpid()}.{format}"
        self.output = f"output-{os.getpid()}.{format}"
        make_classifier("k=5").fit(self.X_train, self.y_train).save(self.model)
        rows = np.tile(self.X_test, (5, 1))
        if format == "npy":
            np.save(self.input, rows)
        else:
            table, write = feature("pyarrow", "table"), feature("pyarrow.parquet", "write_table")
            write(table({f"pixel{c}": rows[:, c] for c in range(rows.shape[1])}), self.input)
        self.classify(self.model, self.input, self.output)

    def teardown(self, kept, source, format):
        for path in (getattr(self, name, None) for name in ("model", "input", "output")):
            if path and os.path.exists(path):
                os.unlink(path)

    def time_classify(self, kept, source, format):
        self.classify(self.model, self.input, self.output)

    def peakmem_classify(self, kept, source, format):
        self.classify(self.model, self.input, self.output)
