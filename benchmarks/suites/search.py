"""k-NN: search, fit, predict, one query, memory, model load, import; error rate beside speed."""

import os
import subprocess
import sys
import tempfile

import numpy as np

from . import data


class Search:
    """Seconds for 2,000 queries against 60,000 rows."""

    params = (data.SOURCES, ("brute", "pruned"), ("uint8", "float32"), (1, 5, 50))
    param_names = ("source", "algorithm", "dtype", "k")
    version = "1"
    unit = "seconds"
    warmup_time = 0
    number = 1
    repeat = 5

    def setup_cache(self):
        found = {}
        for source in data.SOURCES:
            try:
                rows, _, queries, _ = data.load(source)
            except NotImplementedError:
                continue
            found[source] = f"{source}.npz"
            np.savez(found[source], rows=rows, queries=queries[:2000])
        return found

    def setup(self, cache, source, algorithm, dtype, k):
        from somknn.neighbors import ExactIndex

        if source not in cache:
            raise NotImplementedError(f"no {source}")
        with np.load(cache[source]) as arrays:
            rows, self.queries = arrays["rows"].astype(dtype), arrays["queries"].astype(dtype)
        self.index = ExactIndex(algorithm).fit(rows)
        self.index.search(self.queries[:50], k)  # compiles

    def time_search(self, cache, source, algorithm, dtype, k):
        self.index.search(self.queries, k)

    def time_one_query(self, cache, source, algorithm, dtype, k):
        self.index.search(self.queries[:1], k)


class Classifier:
    """Fit, predict, memory, saving and the error rate of 5 neighbours."""

    params = (data.SOURCES,)
    param_names = ("source",)
    version = "1"
    number = 1
    repeat = 5
    warmup_time = 0

    def setup(self, source):
        import somknn

        self.X_train, self.y_train, self.X_test, self.y_test = data.load(source)
        self.model = somknn.KNeighborsClassifier(n_neighbors=5).fit(self.X_train, self.y_train)
        self.model.predict(self.X_test[:100])
        handle, self.path = tempfile.mkstemp(suffix=".safetensors")
        os.close(handle)
        self.model.save(self.path)

    def teardown(self, source):
        os.unlink(self.path)

    def time_fit(self, source):
        self.model.fit(self.X_train, self.y_train)

    def time_predict(self, source):
        self.model.predict(self.X_test)

    def time_load(self, source):
        import somknn

        somknn.load(self.path)

    def peakmem_fit_and_predict(self, source):
        self.model.fit(self.X_train, self.y_train).predict(self.X_test)

    def track_error_rate(self, source):
        return float(np.mean(self.model.predict(self.X_test) != self.y_test))

    track_error_rate.unit = "share of test rows"
    track_error_rate.version = "1"


class Import:
    """A fresh interpreter that imports somknn and ends."""

    version = "1"
    repeat = 5
    number = 1

    def time_import(self):
        subprocess.run([sys.executable, "-c", "import somknn"], check=True)
