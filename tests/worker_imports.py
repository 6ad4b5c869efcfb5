"""What a worker of the tests' clusters has imported when it is forked (`clusters.forked`)."""

import somknn.distributed.kmeans
import somknn.distributed.som  # noqa: F401
