"""Images and prompts that nobody asked about before, and the requests that ask about them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from benchmarks.images import jpeg

# All of them a token each in BERT's vocabulary, and words of the models of random weights.
COLORS = ("black", "blue", "green", "orange", "red", "white", "yellow")
NOUNS = (
    "animal", "apple", "ball", "bicycle", "bird", "boat", "book", "bottle", "bus", "car", "cat",
    "chair", "child", "cup", "dog", "door", "flower", "hand", "hat", "horse", "house", "lamp",
    "man", "person", "phone", "plant", "road", "shirt", "shoe", "sign", "sky", "table", "tree",
    "truck", "wall", "window", "woman",
)  # fmt: skip

_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image"/>
  <RectangleLabels name="box" toName="image" max_regions="{count}"
                   model_score_threshold="{threshold:f}"><Label value="Thing"/></RectangleLabels>
  {brush}
</View>"""
_BRUSH = '<BrushLabels name="mask" toName="image"><Label value="Thing"/></BrushLabels>'

Request = dict[str, Any]

# Settings of a service that is measured. No score and no overlap drops a box: as many objects
# come out as the label config allows. Nobody is sent away, however many ask and however slow the
# machine is.
SETTINGS = {
    "DETECTOR": "groundingdino-swint-ogc",
    "SEGMENTER": "mobile-sam",
    "OUTPUT": "masks",
    "BOX_THRESHOLD": "0",
    "TEXT_THRESHOLD": "0",
    "NMS_THRESHOLD": "1",
    "ALLOWED_HOSTS": "127.0.0.1",
    "REQUEST_DEADLINE": "86400",
    "MODEL_DEADLINE": "86400",
}


class Album(Mapping[str, bytes]):
    """Files by name for `images.serving`: "640x480-7.jpg" is an image of that size.

    All of one size show the same. What follows the end of the image differs, and with it
    the file: nothing that is known of one of them helps with another.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self, size_wh: tuple[int, int]) -> str:
        """The name of an image that was never named before."""
        return f"{size_wh[0]}x{size_wh[1]}-{next(self._numbers)}.jpg"

    def __getitem__(self, name: str) -> bytes:
        size, _, number = name.removesuffix(".jpg").partition("-")
        try:
            width, height = map(int, size.split("x"))
        except ValueError:
            raise KeyError(name) from None
        return _image((width, height)) + number.encode()

    def __iter__(self) -> Iterator[str]:
        """No name: there is no end of them."""
        return iter(())

    def __len__(self) -> int:
        return 0


@lru_cache(maxsize=4)
def _image(size_wh: tuple[int, int]) -> bytes:
    return jpeg(size_wh)


def prompts() -> Iterator[str]:
    """A thousand prompts of two phrases, of equally many tokens, no two alike."""
    return (f"{one} . {other}" for one, other in itertools.permutations(NOUNS, 2))


def prompt_of(phrases: int, turn: int) -> str:
    """A prompt of up to 60 phrases, other ones in each of up to four turns."""
    pairs = [f"{color} {noun}" for noun in NOUNS for color in COLORS]
    return " . ".join(pairs[turn * 60 :][:phrases])


def config(count: int, *, masks: bool, threshold: float = 0.0) -> str:
    """A label config that `count` objects at most are drawn with, as boxes or as masks.

    A mask without a single pixel is drawn as a box: there are as many regions as objects.
    """
    return _CONFIG.format(count=count, threshold=threshold, brush=_BRUSH if masks else "")


def body(images: Sequence[str], prompt: str, label_config: str) -> Request:
    """What Label Studio sends to /predict when an annotator has typed `prompt`."""
    typed = {
        "from_name": "prompt",
        "to_name": "image",
        "type": "textarea",
        "value": {"text": [prompt]},
    }
    return request(images, label_config, [typed])


def request(
    images: Sequence[str], label_config: str, drawn: Sequence[Mapping[str, Any]] | None = None
) -> Request:
    """What Label Studio sends to /predict with what an annotator has typed or `drawn`.

    Without it, to pre-annotate.
    """
    return {
        "tasks": [{"id": i + 1, "data": {"image": image}} for i, image in enumerate(images)],
        "project": "1.1795170150",
        "label_config": label_config,
        "params": {"context": None if drawn is None else {"result": list(drawn)}},
    }
