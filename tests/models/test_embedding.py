"""Frames of one scene have like embeddings, other scenes have others."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from grounded_labeler.core.inference import InferenceRequest
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import DecodedImage, RGBImage, Thresholds
from grounded_labeler.demo.shapes import draw_image
from grounded_labeler.models.embedding import GRID, embed
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.preannotate.groups import SIMILARITY


def frame(scene: RGBImage, rng: np.random.Generator) -> RGBImage:
    """The scene some pixels aside, a little brighter or darker, with noise, as a JPEG."""
    height, width = scene.shape[:2]
    x, y = rng.integers(-6, 7, 2)
    move = np.array([[1, 0, x], [0, 1, y]], np.float32)
    moved = cv2.warpAffine(
        scene.astype(np.float32), move, (width, height), borderMode=cv2.BORDER_REFLECT
    )
    taken = moved * rng.uniform(0.85, 1.15) + rng.normal(0, 4, moved.shape)
    file = io.BytesIO()
    pixels = taken.clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(70, 96)))
    return np.asarray(Image.open(file))


def test_frames_of_a_burst_are_near_and_other_scenes_far(demo_pipeline: Pipeline) -> None:
    scenes, images = range(50_000, 50_010), []  # none that the threshold was chosen on
    for seed in scenes:
        rng = np.random.default_rng(seed)
        scene = draw_image(rng).image
        images += [DecodedImage.of(frame(scene, rng)) for _ in range(2)]
    vectors = demo_pipeline.detector.embed(images)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    alike = vectors @ vectors.T
    same = alike[np.arange(0, 20, 2), np.arange(1, 20, 2)]
    others = alike[np.arange(20)[:, None] // 2 != np.arange(20) // 2]
    assert same.min() >= SIMILARITY
    assert others.max() < SIMILARITY
    assert np.median(others) < 0.3


def test_a_request_gets_the_embedding_that_it_asks_for(demo_pipeline: Pipeline) -> None:
    image = DecodedImage.of(draw_image(np.random.default_rng(3)).image)
    prompt, limits = parse_prompt("star", ()), Thresholds(0.3, 0.25, 0.7, 10)
    asked, not_asked = (
        demo_pipeline.run(
            [InferenceRequest(image, prompt, (), limits, False, with_embedding=wanted)]
        )
        for wanted in (True, False)
    )
    assert not_asked[0].embedding is None
    assert asked[0].embedding is not None
    [expected] = demo_pipeline.detector.embed([image])
    assert np.allclose(asked[0].embedding, expected, atol=1e-4)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 2), (20, 27), (100, 167)])
def test_any_size_of_features(size_hw: tuple[int, int]) -> None:
    level = np.random.default_rng(0).normal(size=(1, 5, *size_hw)).astype(np.float32)
    [vector] = embed([level])
    assert vector.shape == (GRID * GRID * 5,)
    assert np.isfinite(vector).all()


def test_a_blank_image_is_like_nothing() -> None:
    [vector] = embed([np.full((1, 5, 20, 27), 3, np.float32)])
    assert not vector.any()


def test_no_images() -> None:
    assert len(embed([])) == 0
