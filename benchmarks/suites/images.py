"""Image features, the image distortion model (IDM), and the accuracy of the presets."""

import numpy as np

from .data import SOURCES, WithData, feature, tracked

TRANSFORMERS = ("Deskew", "Blur", "GradientOrientation", "CenterDigit")


class Features(WithData):
    """One pass over the test rows (10,000)."""

    params = (SOURCES, TRANSFORMERS)
    param_names = ("source", "transformer")

    def setup(self, kept, source, transformer):
        self.read(kept, source)
        self.transformer = feature("somknn.images", transformer)().fit(self.X_test[:100])
        self.transformer.transform(self.X_test[:100])

    def time_transform(self, kept, source, transformer):
        self.transformer.transform(self.X_test)


class Distortion(WithData):
    """The image distortion model: 500 queries against their candidates among 60,000."""

    def setup(self, kept, source):
        self.read(kept, source)
        self.model = feature("somknn.images", "DeformationClassifier")().fit(self.X_train, self.y_train)
        self.model.predict(self.X_test[:50])

    def time_predict(self, kept, source):
        self.model.predict(self.X_test[:500])


class Presets(WithData):
    """Accuracy of `somknn run --preset` on the whole split, and the time from raw pixels to labels."""

    params = (SOURCES, ("fast", "balanced", "accurate"))
    param_names = ("source", "preset")
    repeat = 2

    def setup(self, kept, source, preset):
        self.read(kept, source)
        self.model = feature("somknn.images", "preset")(preset).fit(self.X_train, self.y_train)
        self.model.predict(self.X_test[:50])

    def time_predict(self, kept, source, preset):
        self.model.predict(self.X_test)

    @tracked("share of test rows (error rate)")
    def track_error_rate(self, kept, source, preset):
        return float(np.mean(self.model.predict(self.X_test) != self.y_test))
