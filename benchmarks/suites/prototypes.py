"""Prototypes: Lloyd's iterations, starts, LVQ, predictions from a thousand rows; inertia and error rates."""

import numpy as np

from .data import SOURCES, WithData, feature, keep_compiled, tracked

BUDGETS = (100, 1000)


class Lloyd(WithData):
    """Ten iterations from one fixed start of 500 training rows."""

    def setup(self, kept, source):
        self.read(kept, source)
        kmeans = feature("somknn", "KMeans")
        chosen = np.random.default_rng(0).choice(len(self.X_train), 500, replace=len(self.X_train) < 500)
        self.model = kmeans(500, init=self.X_train[chosen].astype(np.float64), max_iter=10, tol=0)
        self.model.set_params(max_iter=1).fit(self.X_train[:3_000])
        self.model.set_params(max_iter=10)

    def time_ten_iterations(self, kept, source):
        self.model.fit(self.X_train)

    @tracked("squared grey levels (inertia)")
    def track_inertia(self, kept, source):
        return float(self.model.fit(self.X_train).inertia_)


class LloydMemory(WithData):
    """Peak memory of ten iterations."""

    def setup_cache(self):
        return keep_compiled(lambda X, y: feature("somknn", "KMeans")(100, max_iter=2, init="random").fit(X))

    def setup(self, kept, source):
        self.read(kept, source)

    def peakmem_fit(self, kept, source):
        feature("somknn", "KMeans")(500, init="random", n_init=1, max_iter=10, tol=0, random_state=0).fit(self.X_train)


class Starts(WithData):
    """500 starting centres, and one iteration."""

    params = (SOURCES, ("k-means++", "k-means||", "random"))
    param_names = ("source", "init")
    repeat = 3

    def setup(self, kept, source, init):
        self.read(kept, source)
        self.model = feature("somknn", "KMeans")(500, init=init, n_init=1, max_iter=1, random_state=0)
        self.model.fit(self.X_train[:3_000])

    def time_start(self, kept, source, init):
        self.model.fit(self.X_train)


class Prototypes(WithData):
    """Prototypes of all training rows: fit, prediction, error rate."""

    params = (SOURCES, ("kmeans", "lvq", "sample"), BUDGETS)
    param_names = ("source", "prototypes", "number")
    repeat = 3

    def setup(self, kept, source, prototypes, number):
        self.read(kept, source)
        classifier = feature("somknn", "PrototypeClassifier")
        self.model = classifier(prototypes, number, random_state=0).fit(self.X_train, self.y_train)
        self.model.predict(self.X_test[:100])

    def time_fit(self, kept, source, prototypes, number):
        self.model.fit(self.X_train, self.y_train)

    def time_predict(self, kept, source, prototypes, number):
        self.model.predict(self.X_test)

    @tracked("share of test rows (error rate)")
    def track_error_rate(self, kept, source, prototypes, number):
        return float(np.mean(self.model.predict(self.X_test) != self.y_test))


class KohonenRules(WithData):
    """One pass of LVQ1 and LVQ2.1 over 5,000 rows, 100 prototypes."""

    params = (SOURCES, ("lvq1", "lvq2.1"))
    param_names = ("source", "algorithm")
    repeat = 3

    def setup(self, kept, source, algorithm):
        self.read(kept, source)
        self.model = feature("somknn", "LVQ")(100, algorithm=algorithm, max_iter=1, random_state=0)
        self.model.fit(self.X_train[:1_000], self.y_train[:1_000])

    def time_pass(self, kept, source, algorithm):
        self.model.fit(self.X_train[:5_000], self.y_train[:5_000])
