"""Images through a network one after the other, as a short script does it; to compare with.

python -m benchmarks.image_loop WEIGHTS FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torchvision
from PIL import Image


def make_network(path: Path, classes: int) -> None:
    """Write an untrained resnet18."""
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=classes).state_dict(), path)


def main() -> None:
    """Run all images and print how many are answered with the class of their folder."""
    weights, folder = (Path(word) for word in sys.argv[1:3])
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    network = torchvision.models.resnet18(num_classes=len(names))
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    right = 0
    with torch.inference_mode():
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                with Image.open(path) as image:
                    pixels = transform(image.convert("RGB"))[None]
                right += names[int(network(pixels).argmax())] == path.parent.name
    print(right)


if __name__ == "__main__":
    main()
