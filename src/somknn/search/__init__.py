"""The search room: whoever needs nearest neighbours asks here.

    who asks                    what answers                      what is fixed, what comes anew
    KNeighbors*, evaluation     index.ExactIndex                  rows; queries
    the same, for cosine        cosine.CosineIndex                rows; queries
    prototypes, SOM.predict     few_vectors.FewVectorsSearch      some hundred vectors; queries
    K-Means, GLVQ               codebook.CodebookSearch           rows; a codebook, which moves
    SOM                         best_units.BMUSearch              rows; a codebook, whose two nearest units are wanted
    transform of both           all_distances                     a codebook; rows, for their distances to all units

`protocol.Searcher` is what the first three have in common with the indexes of other backends. `metrics` says what an
index's values stand for. Below them:

    brute, brute_screen         every pair
    tree                        boxes around near rows, for few columns
    pruned, cells, embedding    short vectors first, which rule most rows out
    probed_rows                 rows whose short vectors serve one codebook after the other
    judging                     which of these promises the least time, by searches among a sample
    self_search, column_order   rows searched for themselves
    byte_screen, frames         codes of few vectors, and of a codebook
    stored                      what a model file keeps of a pruned index

The number of threads comes as an argument. The instruction set is asked for once, when something is fitted. What is
searched never changes: a fit makes a new object. No answer depends on who answers: all are ordered by (distance, row),
with the distances of `somknn_kernels.exact`.
"""
