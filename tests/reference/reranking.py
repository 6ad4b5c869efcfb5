"""Reference implementation of the re-ranking kernel."""

from reference.search import squared_distances


def rerank(queries, rows, candidates, k):
    """For each query, the (distance, row) pairs of its k nearest candidates; None if a repeated one was kept twice."""
    answers = []
    for query, listed in zip(queries, candidates, strict=True):
        listed = listed[listed >= 0]
        distances = squared_distances(query[None], rows[listed])[0] if len(listed) else []
        best = sorted(zip(distances, listed, strict=True))[:k]
        answers.append(None if len({row for _, row in best}) < len(best) else best)
    return answers
