"""Reference implementation of `somknn_kernels.images.deformation`."""

import numpy as np


def distortion(query, reference, warp, context):
    """IDM cost of one pair of images (2, rows, columns), with each pixel's best match found by plain search."""
    border = warp + context
    q = np.pad(query.astype(np.int64), ((0, 0), (border, border), (border, border)))
    t = np.pad(reference.astype(np.int64), ((0, 0), (border, border), (border, border)))

    def patch(image, r, c):
        return image[:, r - context : r + context + 1, c - context : c + context + 1]

    cost = 0
    for r in range(border, border + query.shape[1]):
        for c in range(border, border + query.shape[2]):
            cost += min(
                ((patch(q, r, c) - patch(t, r + dr, c + dc)) ** 2).sum()
                for dr in range(-warp, warp + 1)
                for dc in range(-warp, warp + 1)
            )
    return cost


def idm_rerank(queries, references, candidates, warp, context, k):
    """All costs, sorted by (cost, row); none is abandoned early."""
    costs, indices = [], []
    for query, row in zip(queries, candidates, strict=True):
        best = sorted((int(distortion(query, references[j], warp, context)), int(j)) for j in row)[:k]
        costs.append([cost for cost, _ in best])
        indices.append([index for _, index in best])
    return np.array(costs), np.array(indices)
