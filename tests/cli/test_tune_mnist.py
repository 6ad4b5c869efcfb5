"""`somknn tune` reproduces a published study of MNIST, before and after tuning."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from somknn.cli import main

MNIST = Path(os.environ.get("SOMKNN_DATA", "no-such-folder")) / "mnist"
BEFORE = {"cross_validation": 97.00, "accuracy": 96.88, "precision": 96.90, "recall": 96.88, "f1": 96.87}
AFTER = {
    **{"cross_validation": 97.28, "accuracy": 97.14, "precision": 97.15, "recall": 97.14, "f1": 97.13},
    **{"roc_auc": 99.43, "log_loss": 0.404, "cohen_kappa": 96.82, "matthews": 96.82, "top_3_accuracy": 99.15},
}


@pytest.mark.mnist
@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not there")
def test_the_published_table(tmp_path):
    result = CliRunner().invoke(main, ["tune", "--dataset", "mnist", "--tie-break", "first", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["best"] == {"features": "raw", "n_neighbors": 4, "weights": "distance"}
    for method, published in zip(record["methods"], (BEFORE, AFTER), strict=True):
        found = {name: score["value"] for name, score in method["scores"].items()}
        found["cross_validation"] = method["cross_validation_mean"]
        for name, value in published.items():
            scale, tolerance = (1, 0.002) if name == "log_loss" else (100, 0.02)
            assert scale * found[name] == pytest.approx(value, abs=tolerance), name
