"""The pictures of which the training scenes are composed: Microsoft's Fluent 3D emoji, from their npm package.

``python -m mflux_teacache.demo.trainer.emoji --output sprites.npy`` fetches the package from the registry that npm is
configured with, and prepares the objects of the vocabulary. The pictures are under the MIT licence (NOTICE).
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image

from mflux_teacache.demo.vocabulary import OBJECTS
from mflux_teacache.pieces.output_files import replace_file

PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
# A sprite's canvas in pixels, and the longer side of what it shows: the rest is room for soft edges and shadows.
CANVAS, CONTENT = 160, 144

_CODES = {
    **{"fox": "1f98a", "cat": "1f408", "owl": "1f989", "penguin": "1f427", "whale": "1f433", "fish": "1f420"},
    **{"octopus": "1f419", "turtle": "1f422", "butterfly": "1f98b", "bee": "1f41d", "snail": "1f40c"},
    **{"ladybug": "1f41e", "elephant": "1f418", "rabbit": "1f407", "lion": "1f981", "panda": "1f43c", "frog": "1f438"},
    **{"unicorn": "1f984", "dinosaur": "1f995", "chick": "1f425", "crab": "1f980", "parrot": "1f99c"},
    **{"apple": "1f34e", "banana": "1f34c", "strawberry": "1f353", "watermelon": "1f349", "pineapple": "1f34d"},
    **{"lemon": "1f34b", "avocado": "1f951", "carrot": "1f955", "mushroom": "1f344", "pizza": "1f355"},
    **{"burger": "1f354", "doughnut": "1f369", "cupcake": "1f9c1", "cactus": "1f335", "tree": "1f333"},
    **{"sunflower": "1f33b", "tulip": "1f337", "rocket": "1f680", "car": "1f697", "bus": "1f68c", "train": "1f682"},
    **{"sailboat": "26f5", "tractor": "1f69c", "balloon": "1f388", "guitar": "1f3b8", "camera": "1f4f7"},
    **{"clock": "23f0", "gift": "1f381", "crown": "1f451", "umbrella": "2602-fe0f", "house": "1f3e0"},
    **{"castle": "1f3f0", "robot": "1f916", "ghost": "1f47b", "pumpkin": "1f383", "football": "26bd"},
    **{"star": "2b50", "heart": "2764-fe0f"},
}


def fetch(folder: Path) -> Path:
    """The package's archive, by ``npm pack`` into a folder."""
    command = ["npm", "pack", "--silent", PACKAGE, "--pack-destination", str(folder)]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return folder / name


def sprites(archive: Path) -> np.ndarray:
    """``(objects, 160, 160, 4)`` in uint8: colours times opacity, and opacity, in the order of the vocabulary."""
    with tarfile.open(archive) as files:
        return np.stack([_sprite(_read(files, f"package/assets/{_CODES[name]}.webp")) for name in OBJECTS])


def _read(files: tarfile.TarFile, name: str) -> PIL.Image.Image:
    member = files.extractfile(name)
    assert member is not None, f"{name} is a file of the package"
    return PIL.Image.open(io.BytesIO(member.read())).convert("RGBA")


def _sprite(picture: PIL.Image.Image) -> np.ndarray:
    """Cut to what it shows, made as large as the canvas allows, and put in its middle."""
    visible = picture.getchannel("A").point(lambda opacity: 255 * (opacity > 16)).getbbox()
    cut = picture.crop(visible)
    scale = CONTENT / max(cut.size)
    cut = cut.resize((round(scale * cut.width), round(scale * cut.height)), PIL.Image.Resampling.LANCZOS)
    canvas = PIL.Image.new("RGBA", (CANVAS, CANVAS))
    canvas.paste(cut, ((CANVAS - cut.width) // 2, (CANVAS - cut.height) // 2))
    pixels = np.asarray(canvas).astype(np.float32)
    pixels[..., :3] *= pixels[..., 3:] / 255
    return pixels.round().astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mflux_teacache.demo.trainer.emoji", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="sprites, .npy")
    output: Path = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        result = sprites(fetch(Path(folder)))
    content = io.BytesIO()
    np.save(content, result)
    replace_file(output, content.getvalue())
    print(f"{len(result)} sprites in {output}")


if __name__ == "__main__":
    main()
