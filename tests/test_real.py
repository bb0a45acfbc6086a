"""The claims of the README on real data, where it lies beside the project."""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest
from benchmarks.cub import load, measure
from safetensors.numpy import load_file, save_file

from tests.conftest import SHARED, icis

#: Of ridge regression, which nothing random is in, in per cent.
RIDGE_T1, RIDGE_AUSUC = 53.1, 32.2


def means(cub, recipe):
    data = load(cub)
    runs = [measure(data, recipe, seed) for seed in range(3)]
    return [statistics.mean(column) for column in zip(*runs, strict=True)]


@pytest.mark.slow
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


def figures_of_commands(cub, data, folder, *options):
    """T1, u, s, H and AUSUC in per cent, of rows that are not calibrated."""
    labels = np.asarray(data.features.labels)
    np.savez(folder / "test.npz", features=data.features.values, labels=labels)
    fit = icis(
        "fit", "--weights", cub / "head.pt", "--attrs", cub / "descriptors.npy",
        "--classes", cub / "classes.txt", "--seen", cub / "seen.txt",
        "--unseen", cub / "unseen.txt", *options, cwd=folder,
    )  # fmt: skip
    assert fit.code == 0, fit.err
    assert "head row 0 = descriptor row" in fit.err
    inject = icis("inject", "--quiet", "--calibration", "none", cwd=folder)
    assert inject.out == "head.injected.pt\n"
    done = icis(
        "eval", "--weights", "head.injected.pt", "--features", "test.npz", "--json", cwd=folder
    )
    found = json.loads(done.out)
    gzsl = [found["gzsl"][key] for key in ("unseen", "seen", "harmonic", "ausuc")]
    return [100 * figure for figure in (found["zsl"]["top1"], *gzsl)]


def test_ridge_on_cub(cub, tmp_path):
    t1, unseen, seen, _, ausuc = figures_of_commands(cub, load(cub), tmp_path, "--method", "ridge")
    assert t1 == pytest.approx(RIDGE_T1, abs=0.3)
    assert ausuc == pytest.approx(RIDGE_AUSUC, abs=0.3)
    assert seen > 60
    assert unseen < 10  # short rows, which nothing favours


@pytest.mark.slow
def test_the_commands_give_the_figures_of_the_api(cub, tmp_path):
    data = load(cub)
    expected = measure(data, "default", 0)
    assert figures_of_commands(cub, data, tmp_path) == pytest.approx(expected[:5], abs=0.2)


def test_wrong_order_of_real_classes_is_noticed(cub, tmp_path):
    done = icis(
        "fit", "--weights", cub / "head.pt", "--attrs", cub / "descriptors.npy", "--dry-run",
        "--method", "ridge", cwd=tmp_path,
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
@pytest.mark.parametrize("method", ["ridge", pytest.param("icis", marks=pytest.mark.slow)])
def test_imagenet_rows_taken_out_and_put_back_answer_real_photographs(tmp_path, method):
    data = SHARED / "imagenet-lite0"
    head = load_file(data / "head_1000.safetensors")
    new = [int(line) for line in (data / "unseen_indices.txt").read_text().split()]
    kept = np.setdiff1d(np.arange(1000), new)
    save_file({name: values[kept] for name, values in head.items()}, tmp_path / "m.safetensors")
    (tmp_path / "seen.txt").write_text("\n".join(map(str, kept)))
    fit = icis(
        "fit", "--weights", "m.safetensors", "--attrs", data / "descriptors.npy",
        "--seen", "seen.txt", "--method", method, cwd=tmp_path,
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
