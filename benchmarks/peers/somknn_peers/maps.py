"""Self-organizing maps: batch training, and the classical rule. All start from the same rows with the same radii."""

import numpy as np

from somknn_peers.contender import Contender, Work

SIZE, EPOCHS = 20, 5
FIRST_RADIUS, LAST_RADIUS = SIZE / 2, 0.5
ONLINE_ROWS, ONLINE_EPOCHS = 300, 10


def inputs(data, options):
    return {"rows": data.X_train, "start": _start(data.X_train)}


def online_inputs(data, options):
    return {"rows": data.X_train[:ONLINE_ROWS], "start": _start(data.X_train)}


def _start(rows):
    chosen = np.random.default_rng(0).choice(len(rows), SIZE**2, replace=False)
    return rows[chosen].reshape(SIZE, SIZE, -1)


def _radius(progress):
    """Exponential from the first radius to the last, reached one epoch after the end, as in the peers."""
    epoch = progress * (EPOCHS - 1)
    return FIRST_RADIUS * (LAST_RADIUS / FIRST_RADIUS) ** (epoch / EPOCHS)


def _falling(first, last):
    """MiniSom's linear decrease from epoch to epoch, which ends one epoch after the last."""
    return lambda progress: first + (last - first) * progress * (ONLINE_EPOCHS - 1) / ONLINE_EPOCHS


def _somknn(inputs, options):
    from somknn import SOM

    start = inputs["start"].astype(np.float64)
    online = options["online"]

    def run(rows=inputs["rows"]):
        if online:
            schedules = {"radius_schedule": _falling(FIRST_RADIUS, 1.0), "rate_schedule": _falling(0.5, 0.0)}
            som = SOM(SIZE, SIZE, training="online", epochs=ONLINE_EPOCHS, initialization=start, **schedules)
        else:
            som = SOM(SIZE, SIZE, epochs=EPOCHS, initialization=start, radius_schedule=_radius)
        return som.set_params(random_state=0).fit(rows).codebook_

    run(inputs["rows"][:500])
    return run


def _fastersom(inputs, options):
    import torch
    from fastersom import BatchSOM

    torch.set_num_threads(options["threads"])
    scaled = torch.from_numpy(inputs["rows"].astype(np.float32) / 255)
    start = (inputs["start"] / 255).reshape(SIZE * SIZE, -1).astype(np.float32)

    def run(rows=scaled):
        som = BatchSOM(SIZE, SIZE, EPOCHS, sigma_initial=FIRST_RADIUS, sigma_final=LAST_RADIUS, init=start)
        return np.asarray(som.fit(rows).weights_) * 255.0

    run(scaled[:500])
    return run


def _xpysom(inputs, options):
    from xpysom import XPySom

    scaled = inputs["rows"].astype(np.float32) / 255

    def run(rows=scaled):
        som = XPySom(SIZE, SIZE, rows.shape[1], sigma=FIRST_RADIUS, sigmaN=LAST_RADIUS, std_coeff=1.0, random_seed=0)
        som._weights = (inputs["start"] / 255).astype(np.float32)
        som.train(rows, EPOCHS)
        return np.asarray(som.get_weights()) * 255.0

    run(scaled[:500])
    return run


def _minisom(inputs, options):
    from minisom import MiniSom

    scaled = inputs["rows"].astype(np.float64) / 255

    def run(rows=scaled):
        som = MiniSom(
            SIZE,
            SIZE,
            rows.shape[1],
            sigma=FIRST_RADIUS,
            learning_rate=0.5,
            sigma_decay_function="linear_decay_to_one",
            decay_function="linear_decay_to_zero",
            random_seed=0,
        )
        som._weights = inputs["start"] / 255
        som.train(rows, ONLINE_EPOCHS, random_order=True, use_epochs=True)
        return som.get_weights() * 255.0

    run(scaled[:5])
    return run


def _answer(codebook):
    return {"codebook": np.asarray(codebook, np.float64).reshape(SIZE * SIZE, -1)}


def quantization_error(codebook, rows):
    """Mean distance of a row to its nearest neuron, pixels in [0, 1], by exact search."""
    from somknn.neighbors import ExactIndex

    squared, _ = ExactIndex("brute").fit(codebook).search(rows.astype(np.float64), 1)
    return float(np.sqrt(squared).mean()) / 255


def judge(ours, theirs, inputs):
    """The relative difference of the quantization errors; positive is worse."""
    own, other = (quantization_error(found["codebook"], inputs["rows"]) for found in (ours, theirs))
    return abs(other / own - 1), f"QE {other:.3f}"


def multiply_adds(inputs, options):
    epochs = ONLINE_EPOCHS if options["online"] else EPOCHS
    return float(epochs) * SIZE**2 * inputs["rows"].size


_SOMKNN = Contender("somknn", ("somknn",), ("somknn",), _somknn, _answer, "uint8", floats=False)

BATCH = Work(
    "som",
    "Batch map",
    f"batch map {SIZE}×{SIZE}, {EPOCHS} epochs",
    inputs,
    (
        _SOMKNN,
        Contender("fastersom", ("fastersom",), ("fastersom", "torch"), _fastersom, _answer, "float32, on the CPU"),
        Contender("XPySom", ("xpysom",), ("xpysom",), _xpysom, _answer, "float32, NumPy"),
    ),
    judge,
    0.005,
    multiply_adds,
    options={"online": False},
)
ONLINE = Work(
    "som-online",
    "Online map",
    f"classical map {SIZE}×{SIZE}, {ONLINE_EPOCHS} epochs over {ONLINE_ROWS} rows",
    online_inputs,
    (_SOMKNN, Contender("MiniSom", ("minisom",), ("minisom",), _minisom, _answer, "float64, train, random order")),
    judge,
    0.05,
    multiply_adds,
    options={"online": True},
)
