"""Write a small model, pictures, and the answers the model must give to them. Runs inside the training image.

Beside this file is picture.heic.

`python serving_samples.py OUT`: OUT/model, OUT/pictures, OUT/expected.json (file name to probabilities).
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from byoc_vision.contract.folders import Paths
from classifier import artifact, network, pictures
from classifier.preprocessing import Preprocessing
from train.data import Data, Split
from train.export import Export
from train.stopping import StopSignal

ARCH, CLASSES = "mobilenet_v3_small", 7


def draw(seed: int, size: tuple[int, int] = (200, 150)) -> Image.Image:
    """Return a picture of random ellipses."""
    numbers = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(numbers.integers(0, 256, 3).tolist()))
    for _ in range(6):
        x, y, width, height = (numbers.random(4) * (*size, *size)).tolist()
        ImageDraw.Draw(image).ellipse((x, y, x + width, y + height), tuple(numbers.integers(0, 256, 3).tolist()))
    return image


def write_pictures(folder: Path) -> None:
    """Write good pictures of every kind under their format's name, and `bad-*` ones."""
    folder.mkdir()
    for seed in range(4):
        draw(seed).save(folder / f"{seed}.jpg", quality=90)
    draw(4).save(folder / "png.png")
    draw(5).save(folder / "webp.webp")
    draw(5).save(folder / "avif.avif", speed=10)
    # Nothing in the images writes HEIC.
    shutil.copy(Path(__file__).with_name("picture.heic"), folder / "heic.heic")
    draw(6).convert("L").save(folder / "grey.png")
    draw(7).convert("CMYK").save(folder / "cmyk.jpg")
    draw(8).convert("P").save(folder / "palette.png")
    draw(9).convert("RGBA").save(folder / "alpha.png")
    deep = np.asarray(draw(10).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "16-bit.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(11).save(folder / "rotated.jpg", exif=exif)
    draw(12, (1, 1)).save(folder / "1x1.png")
    draw(13, (1, 5000)).save(folder / "1x5000.png")
    (folder / "bad-truncated.jpg").write_bytes((folder / "0.jpg").read_bytes()[:2000])
    Image.new("1", (20_000, 20_000)).save(folder / "bad-bomb.png")


def main(out: Path) -> None:
    """Write everything into the folder `out`, which is there."""
    write_pictures(out / "pictures")
    torch.manual_seed(1)
    net = network.build(ARCH, CLASSES).eval()
    preprocessing = Preprocessing(232, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    good = sorted(file for file in (out / "pictures").iterdir() if not file.name.startswith("bad-"))
    pixels = np.stack([preprocessing.pixels(pictures.decode(file)) for file in good])
    inputs = torch.from_numpy(preprocessing.normalize(pixels))
    # A network fresh from its initialisation answers the same to everything; this makes it tell the pictures apart.
    with torch.no_grad():
        logits = net(inputs)
        head = net.get_submodule(network.head_name(net))
        scale = 3 / logits.std(dim=0).mean()
        head.weight.mul_(scale)
        head.bias.sub_(logits.mean(dim=0)).mul_(scale)
        expected = torch.softmax(net(inputs), dim=1)
    labels = tuple(f"{index + 1:03}.Hund_ß_{index}" for index in range(CLASSES))
    classifier = artifact.Classifier(ARCH, labels, preprocessing, network=net)
    artifact.save(classifier, out / "model")
    names = tuple(file.name for file in good)
    split = Split(Paths(names=tuple(map(str, good))), tuple(expected.argmax(dim=1).tolist()), names)
    Export(classifier, Data(labels, split, split, Split()), out / "model", 0, StopSignal(), print)()
    np.save(out / "tensor.npy", inputs[:3].numpy())
    (out / "expected.json").write_text(json.dumps(dict(zip(names, expected.tolist(), strict=True))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
