"""Self-organizing maps: epochs of batch and online training, grid sizes, best-matching units; QE and label errors."""

import numpy as np

from .data import SOURCES, WithData, feature, keep_compiled, tracked


def make_map(size, **settings):
    return feature("somknn", "SOM")(size, size, random_state=0, **settings)


class BatchMap(WithData):
    """Batch training on all training rows: three epochs from one fixed start of training rows."""

    params = (SOURCES, (10, 20, 50))
    param_names = ("source", "size")
    repeat = 3

    def setup(self, kept, source, size):
        self.read(kept, source)
        chosen = np.random.default_rng(0).choice(len(self.X_train), size**2, replace=size**2 > len(self.X_train))
        start = self.X_train[chosen].reshape(size, size, -1).astype(np.float64)
        self.map = make_map(size, epochs=3, initialization=start)
        make_map(size, epochs=1, initialization=start).fit(self.X_train[:500])

    def time_three_epochs(self, kept, source, size):
        self.map.fit(self.X_train)


class OnlineMap(WithData):
    """One epoch of the classical rule over 5,000 rows."""

    params = (SOURCES, (10, 20))
    param_names = ("source", "size")
    repeat = 3

    def setup(self, kept, source, size):
        self.read(kept, source)
        self.map = make_map(size, epochs=1, training="online", initialization="sample")
        self.map.fit(self.X_train[:200])

    def time_epoch(self, kept, source, size):
        self.map.fit(self.X_train[:5_000])


class TrainedMap(WithData):
    """A 20×20 map after 10 epochs: time to find units, and quality."""

    def setup_cache(self):
        return keep_compiled(lambda rows, _: make_map(20, epochs=2).fit(rows).predict(rows))

    def setup(self, kept, source):
        self.read(kept, source)
        self.map = make_map(20, epochs=10, final_radius=0.3).fit(self.X_train)
        self.map.predict(self.X_test[:100])

    def time_predict(self, kept, source):
        self.map.predict(self.X_test)

    def peakmem_fit(self, kept, source):
        make_map(20, epochs=2).fit(self.X_train)

    @tracked("grey levels (quantization error)")
    def track_quantization_error(self, kept, source):
        return float(self.map.quantization_error(self.X_test))

    @tracked("share of test rows (topographic error)")
    def track_topographic_error(self, kept, source):
        return float(self.map.topographic_error(self.X_test))

    @tracked("share of test rows (error rate of the label map)")
    def track_error_rate(self, kept, source):
        model = feature("somknn", "SOMClassifier")(make_map(20, epochs=10, final_radius=0.3))
        return float(np.mean(model.fit(self.X_train, self.y_train).predict(self.X_test) != self.y_test))


class OnlineQuality(WithData):
    """A 10×10 map of 5,000 rows by the classical rule."""

    def setup(self, kept, source):
        self.read(kept, source)
        self.map = make_map(10, epochs=3, training="online", initialization="sample").fit(self.X_train[:5_000])

    @tracked("grey levels (quantization error)")
    def track_quantization_error(self, kept, source):
        return float(self.map.quantization_error(self.X_test))


class FeatureSelection(WithData):
    """100 pixels selected by a 20×20 map without redundancy, then 3 neighbours."""

    def setup(self, kept, source):
        self.read(kept, source)
        make = feature("somknn.som", "som_features_knn")
        self.model = make(make_map(20, epochs=5), n_features=100)

    @tracked("share of test rows (error rate)")
    def track_error_rate(self, kept, source):
        return float(np.mean(self.model.fit(self.X_train, self.y_train).predict(self.X_test) != self.y_test))
