"""Training of prototypes: K-Means, learning vector quantization (LVQ), learned metrics.

| file | what it computes |
| --- | --- |
| `seeding.py` | the first centres (k-means++), without measuring every row against every candidate |
| `group_sums.py` | sums of the rows of each label, exact for bytes |
| `lvq.py` | the nearest prototype of each row, and Kohonen's rules LVQ1 and LVQ2.1 |
| `linear_map.py` | rows under a learned linear map, and the nearest vectors there |

    centre[g] = mean of the rows of cluster g          np.stack([X[labels == g].mean(axis=0) for g in range(k)])
"""
