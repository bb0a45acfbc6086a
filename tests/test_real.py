"""The claims of the README on real data, where it lies beside the project."""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest
from benchmarks.cub import load, measure

from tests.conftest import SHARED, icis


def means(cub, recipe):
    data = load(cub)
    runs = [measure(data, recipe, seed) for seed in range(3)]
    return [statistics.mean(column) for column in zip(*runs, strict=True)]


def test_default_recipe_on_cub(cub):
    t1, _, _, harmonic, ausuc, *_ = means(cub, "default")
    assert t1 >= 51
    assert ausuc >= 30.5
    assert harmonic >= 22.5  # that of the paper recipe and of the authors' own code


@pytest.mark.slow
def test_paper_recipe_on_cub(cub):
    t1, unseen, seen, _, ausuc, *_ = means(cub, "paper")
    assert abs(t1 - 43.0) <= 2.5
    assert abs(unseen - 14.5) <= 2
    assert abs(seen - 62.3) <= 1.5
    assert abs(ausuc - 22.3) <= 1.5


def test_the_commands_give_the_figures_of_the_api(cub, tmp_path):
    data = load(cub)
    expected = measure(data, "default", 0)
    np.savez(
        tmp_path / "test.npz",
        features=data.features.values,
        labels=np.asarray(data.features.labels),
    )
    aligned = ["--classes", cub / "classes.txt", "--seen", cub / "seen.txt"]
    fit = icis(
        "fit", "--weights", cub / "head.pt", "--attrs", cub / "descriptors.npy", *aligned,
        "--unseen", cub / "unseen.txt", cwd=tmp_path,
    )  # fmt: skip
    assert fit.code == 0, fit.err
    assert "head row 0 = descriptor row" in fit.err
    inject = icis("inject", "--quiet", "--calibration", "none", cwd=tmp_path)
    assert inject.out == "head.injected.pt\n"
    done = icis(
        "eval", "--weights", "head.injected.pt", "--features", "test.npz", "--json", cwd=tmp_path
    )
    found = json.loads(done.out)
    figures = [100 * found["gzsl"][key] for key in ("unseen", "seen", "harmonic", "ausuc")]
    assert 100 * found["zsl"]["top1"] == pytest.approx(expected[0], abs=0.2)
    assert figures == pytest.approx(expected[1:5], abs=0.2)


def test_wrong_order_of_real_classes_is_noticed(cub, tmp_path):
    done = icis(
        "fit", "--weights", cub / "head.pt", "--attrs", cub / "descriptors.npy", "--dry-run",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0
    assert "the classes may be in the wrong order" in done.err


@pytest.mark.slow
def test_demo_beats_its_controls(tmp_path):
    done = icis("demo", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["rows"]["classes"] == 200
    for control in found["controls"].values():
        assert found["rows"]["cosine"] > control["cosine"] + 0.03
        assert found["rows"]["nearest"] > control["nearest"] + 0.05


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data at {SHARED}")
def test_imagenet_rows_taken_out_and_put_back_answer_real_photographs(tmp_path):
    data = SHARED / "imagenet-lite0"
    from safetensors.numpy import load_file, save_file

    head = load_file(data / "head_1000.safetensors")
    new = [int(line) for line in (data / "unseen_indices.txt").read_text().split()]
    kept = np.setdiff1d(np.arange(1000), new)
    save_file({name: values[kept] for name, values in head.items()}, tmp_path / "m.safetensors")
    (tmp_path / "seen.txt").write_text("\n".join(map(str, kept)))
    fit = icis(
        "fit", "--weights", "m.safetensors", "--attrs", data / "descriptors.npy",
        "--seen", "seen.txt", cwd=tmp_path,
    )  # fmt: skip
    assert fit.code == 0, fit.err
    assert "cannot be told apart by the table" in fit.err  # rows 53/60 and 206/209
    assert icis("inject", cwd=tmp_path).code == 0
    done = icis(
        "eval", "--weights", "m.injected.safetensors", "--features", data / "features.npz",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    found = json.loads(done.out)
    assert found["zsl"]["top1"] > 0.40
    assert found["gzsl"]["ausuc"] > 0.31
    gzsl = found["gzsl"]
    assert gzsl["harmonic"] > 0.45
    assert gzsl["harmonic"] > 0.9 * gzsl["best_harmonic"]
