"""All works by name."""

from somknn_peers import clusters, maps, neighbours
from somknn_peers.contender import Work

ALL = (
    neighbours.BATCH,
    neighbours.SINGLE_QUERY,
    maps.BATCH,
    maps.ONLINE,
    clusters.KMEANS,
    clusters.KMEANS_STARTED,
    clusters.KMEANS_DRAWN,
    *clusters.MANY,
)


def find(name: str) -> Work:
    return next(work for work in ALL if work.name == name)
