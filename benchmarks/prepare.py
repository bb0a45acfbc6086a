"""Write the files that ``icis compare`` needs for the tables of the README.

    python -m benchmarks.prepare DATA OUT

DATA as in ``docs/calibration.md``. Writes into the folder OUT: ``cub_test.npz``, the test samples
of the Proposed Split; ``imagenet800.safetensors``, an ImageNet head without the 200 classes that
``unseen_indices.txt`` lists; ``imagenet_seen.txt``, the descriptor rows of the 800 others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.io import loadmat


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cub, imagenet = options.data / "cub-vgg", options.data / "imagenet-lite0"
    archive, splits = np.load(cub / "features.npz"), loadmat(cub / "att_splits.mat")
    test = np.concatenate([splits["test_seen_loc"], splits["test_unseen_loc"]]).ravel() - 1
    np.savez(
        options.out / "cub_test.npz",
        features=archive["features"][test],
        labels=archive["labels"][test],
    )
    unseen = np.loadtxt(imagenet / "unseen_indices.txt", dtype=np.int64)
    kept = np.setdiff1d(np.arange(1000), unseen)
    head = load_file(imagenet / "head_1000.safetensors")
    save_file(
        {key: np.ascontiguousarray(value[kept]) for key, value in head.items()},
        options.out / "imagenet800.safetensors",
    )
    lines = "".join(f"{row}\n" for row in kept)
    (options.out / "imagenet_seen.txt").write_text(lines)


if __name__ == "__main__":
    main()
