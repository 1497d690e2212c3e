"""Attention said otherwise for graphs, beside what each family's own modules compute."""

from typing import Any

import pytest
import torch
from groundingdino.models.GroundingDINO.fuse_modules import BiMultiHeadAttention
from groundingdino.models.GroundingDINO.ms_deform_attn import MultiScaleDeformableAttention
from groundingdino.models.GroundingDINO.transformer import DeformableTransformerEncoderLayer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GroundingDinoConfig, MMGroundingDinoConfig
from transformers.models.grounding_dino import modeling_grounding_dino as grounding_dino
from transformers.models.mm_grounding_dino import modeling_mm_grounding_dino as mm_grounding_dino

from grounded_labeler.models.runtime.openvino_tracing import traceable
from grounded_labeler.models.runtime.text_image_attention import package_text_image

SIZES = [(6, 9), (3, 5)]
CELLS = sum(height * width for height, width in SIZES)
WIDTH, HEADS, POINTS = 32, 4, 2
OF_TRANSFORMERS = {
    "Grounding DINO": (grounding_dino, "GroundingDino", GroundingDinoConfig),
    "MM-Grounding-DINO": (mm_grounding_dino, "MMGroundingDino", MMGroundingDinoConfig),
}
FAMILIES = ["package", *OF_TRANSFORMERS]


def of_transformers(family: str, name: str, *more: int) -> Any:
    module, prefix, config = OF_TRANSFORMERS[family]
    sizes = config(
        d_model=WIDTH,
        num_feature_levels=len(SIZES),
        encoder_ffn_dim=4 * WIDTH,
        encoder_attention_heads=2 * HEADS,
    )
    return getattr(module, f"{prefix}{name}")(sizes, *more)


def with_noise(module: Any) -> Any:
    """The module with weights that make every part of it count."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


def deformable(family: str) -> Any:
    if family == "package":
        sizes = {"num_levels": len(SIZES), "num_points": POINTS, "batch_first": True}
        return with_noise(MultiScaleDeformableAttention(WIDTH, HEADS, **sizes))
    return with_noise(of_transformers(family, "MultiscaleDeformableAttention", HEADS, POINTS))


def attended(family: str, module: Any, queries: Tensor, seen: Tensor, places: Tensor) -> Tensor:
    sizes = torch.tensor(SIZES)
    where = {"reference_points": places, "spatial_shapes": sizes}
    starts = torch.tensor([0, SIZES[0][0] * SIZES[0][1]])
    if family == "package":
        answer: Tensor = module(query=queries, value=seen, level_start_index=starts, **where)
        return answer
    out: Tensor = module(
        hidden_states=queries,
        encoder_hidden_states=seen,
        spatial_shapes_list=SIZES,
        level_start_index=starts,
        **where,
    )[0]
    return out


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("coordinates", [2, 4])
@pytest.mark.parametrize("count", [1, CELLS])
@torch.no_grad()
def test_deformable_attention_is_the_same(family: str, coordinates: int, count: int) -> None:
    module, chance = deformable(family), torch.Generator().manual_seed(0)
    queries = torch.randn(1, count, WIDTH, generator=chance)
    seen = torch.randn(1, CELLS, WIDTH, generator=chance)
    places = torch.rand(1, count, 1, coordinates, generator=chance).expand(-1, -1, len(SIZES), -1)
    expected = attended(family, module, queries, seen, places)
    with traceable():
        found = attended(family, module, queries, seen, places)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1, "it would not show a difference"


def encoder_layer(family: str) -> Any:
    if family == "package":
        sizes = {"n_levels": len(SIZES), "n_heads": HEADS, "n_points": POINTS}
        return with_noise(DeformableTransformerEncoderLayer(WIDTH, 4 * WIDTH, **sizes))
    return with_noise(of_transformers(family, "DeformableLayer"))


def encoded(family: str, layer: Any, cells: Tensor, positions: Tensor, places: Tensor) -> Tensor:
    where = {
        "reference_points": places,
        "spatial_shapes": torch.tensor(SIZES),
        "level_start_index": torch.tensor([0, SIZES[0][0] * SIZES[0][1]]),
    }
    if family == "package":
        out: Tensor = layer(src=cells, pos=positions, **where)
        return out
    answer: Tensor = layer(
        hidden_states=cells,
        attention_mask=torch.ones(1, CELLS, dtype=torch.bool),
        position_embeddings=positions,
        spatial_shapes_list=SIZES,
        **where,
    )[0]
    return answer


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_layer_of_the_encoder_is_the_same(family: str) -> None:
    layer, chance = encoder_layer(family), torch.Generator().manual_seed(0)
    cells, positions = (torch.randn(1, CELLS, WIDTH, generator=chance) for _ in range(2))
    places = torch.rand(1, CELLS, 1, 2, generator=chance).expand(-1, -1, len(SIZES), -1)
    expected = encoded(family, layer, cells, positions, places)
    with traceable():
        found = encoded(family, layer, cells, positions, places)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1, "it would not show a difference"


def text_image(family: str) -> Any:
    if family == "package":
        module = BiMultiHeadAttention(WIDTH, WIDTH, 2 * WIDTH, HEADS)
    else:
        module = of_transformers(family, "BiMultiHeadAttention")
    return with_noise(module)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tokens", [1, 5, 40])
@pytest.mark.parametrize("padded", [0, 1, 3])
@torch.no_grad()
def test_cells_and_tokens_attend_to_each_other_as_before(
    family: str, tokens: int, padded: int
) -> None:
    module, chance = text_image(family), torch.Generator().manual_seed(0)
    image = torch.randn(2, CELLS, WIDTH, generator=chance)
    text = torch.randn(2, tokens + padded, WIDTH, generator=chance)
    is_padding = torch.arange(tokens + padded).expand(2, -1) >= tokens
    nothing = torch.zeros(2, CELLS, dtype=torch.bool)
    expected = module(image, text, nothing, is_padding)
    with traceable():
        found = module(image, text, nothing, is_padding)
    for one, other in zip(found, expected, strict=True):
        now, before = (part if family == "package" else part[0] for part in (one, other))
        torch.testing.assert_close(now, before, atol=1e-4, rtol=1e-4)
        assert before.std() > 0.1, "it would not show a difference"


@torch.no_grad()
def test_no_product_has_all_cells_and_all_heads_in_it() -> None:
    """What is saved: with few tokens nothing is as large as the cells' queries of all heads."""
    module, tokens, cells = text_image("package"), 3, 500
    sizes: list[int] = []

    class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            answer = function(*args, **(kwargs or {}))
            if isinstance(answer, Tensor):
                sizes.append(answer.numel())
            return answer

    counted: Any = Counted
    image, text = torch.randn(1, cells, WIDTH), torch.randn(1, tokens, WIDTH)
    with counted():
        module(image, text)
    assert max(sizes) >= cells * 2 * WIDTH
    sizes.clear()
    with counted():
        package_text_image(module, image, text)
    assert max(sizes) <= cells * WIDTH
