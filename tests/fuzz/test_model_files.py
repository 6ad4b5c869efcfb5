"""No model file can do harm: `load` rejects it in one line, or the loaded model gives correct answers.

A child process runs the mutants (`attack.py`), since the faults looked for would end the process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.saved_models import fitted_models
from somknn.persistence import CLASSES, save
from somknn_kernels.isa import supported

ATTACK = Path(__file__).with_name("attack.py")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    models = fitted_models()
    assert {type(model).__name__ for model in models.values()} == set(CLASSES)
    for name, model in models.items():
        save(model, folder / "".join(c if c.isalnum() else "-" for c in name))
    return folder


def attack(models, stop, isa=None):
    """Results of the mutants 0 to stop - 1; a child that died had a harmful mutant, and a new child continues."""
    environment = {**os.environ, **({} if isa is None else {"SOMKNN_ISA": isa}), "MALLOC_PERTURB_": "165"}
    results, first = [], 0
    while first < stop:
        command = [sys.executable, str(ATTACK), str(models), str(first), str(stop), "1"]
        child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)
        lines = child.stdout.splitlines()
        results += [json.loads(line) for line in lines if line.startswith("{")]
        if child.returncode == 0:
            break
        assert lines, child.stderr
        last = int(lines[-1])
        results.append({"number": last, "wrong": f"the process ended with {child.returncode}: {child.stderr[-2000:]}"})
        first = last + 1
    assert [result["number"] for result in results] == list(range(stop))
    return results


def judge(results):
    wrong = [result for result in results if result["wrong"]]
    assert not wrong, "\n".join(map(str, wrong[:10]))
    # If all mutants were rejected, or all loaded, little would be tested.
    loaded = sum(result["loaded"] for result in results)
    assert 0.02 * len(results) < loaded < 0.8 * len(results)


def test_2000_mutants(models):
    judge(attack(models, 2000))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("isa", supported())
def test_20000_mutants_on_every_instruction_set(models, isa):
    judge(attack(models, 20_000, isa))
