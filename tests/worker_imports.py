"""The imports of a forked worker of the tests' clusters (`clusters.forked`)."""

import somknn.distributed.kmeans
import somknn.distributed.som  # noqa: F401
