"""What is said otherwise while a model is traced; test_openvino.py has what comes of it."""

from typing import Any

import groundingdino.models.GroundingDINO.groundingdino as package
import pytest
import torch
from groundingdino.models.GroundingDINO import fuse_modules, ms_deform_attn
from groundingdino.models.GroundingDINO.backbone.swin_transformer import BasicLayer
from transformers.models.grounding_dino import modeling_grounding_dino
from transformers.models.mm_grounding_dino import modeling_mm_grounding_dino

from grounded_labeler.models.detectors.official import Backbone
from grounded_labeler.models.runtime.openvino_tracing import traceable
from tests.models.detectors.small_models import save_vocabulary, small_model


def replaced() -> tuple[object, ...]:
    return (
        torch.as_tensor,
        torch.special.logit,
        BasicLayer.forward,
        ms_deform_attn.MultiScaleDeformableAttention.forward,
        fuse_modules.BiMultiHeadAttention.forward,
        modeling_grounding_dino.GroundingDinoMultiscaleDeformableAttention.forward,
        modeling_grounding_dino.GroundingDinoBiMultiHeadAttention.forward,
        modeling_mm_grounding_dino.MMGroundingDinoMultiscaleDeformableAttention.forward,
        modeling_mm_grounding_dino.MMGroundingDinoBiMultiHeadAttention.forward,
        modeling_grounding_dino.GroundingDinoModel.generate_encoder_output_proposals,
        modeling_mm_grounding_dino.MMGroundingDinoModel.generate_encoder_output_proposals,
        torch.is_grad_enabled(),
    )


def test_everything_is_put_back_afterwards() -> None:
    before = replaced()
    with traceable():
        assert all(now is not then for now, then in zip(replaced(), before, strict=True))
    assert replaced() == before
    with pytest.raises(RuntimeError, match="cannot be converted"), traceable():
        raise RuntimeError("cannot be converted")
    assert replaced() == before


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> package.GroundingDINO:
    return small_model(save_vocabulary(tmp_path_factory.mktemp("bert")))


@pytest.mark.parametrize("size_hw", [(224, 224), (64, 200), (200, 64), (97, 131), (33, 47)])
def test_the_backbone_sees_the_same_meanwhile(
    model: package.GroundingDINO, size_hw: tuple[int, int]
) -> None:
    backbone = Backbone(model)
    pixels = torch.randn(2, 3, *size_hw, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = backbone(pixels)
        with traceable():
            found = backbone(pixels)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("eps", [None, 1e-5])
def test_functions_of_torch_answer_the_same_meanwhile(eps: float | None) -> None:
    values = torch.tensor([0.0, 1e-7, 0.25, 0.5, 1 - 1e-6, 1.0])
    expected = torch.special.logit(values, eps=eps)
    with traceable():
        torch.testing.assert_close(torch.special.logit(values, eps=eps), expected)
        assert torch.equal(torch.as_tensor([(1, 2), (3, 4)]), torch.tensor([[1, 2], [3, 4]]))
        assert torch.as_tensor([1], dtype=torch.float32).dtype == torch.float32
        assert torch.as_tensor(values) is values


@pytest.mark.filterwarnings("ignore::FutureWarning:torch.*")
def test_a_trace_keeps_where_sizes_in_a_tensor_came_from() -> None:
    def sizes(pixels: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor([tuple(pixels.shape), (pixels.shape[1], 7)], dtype=torch.long)

    with traceable():
        trace: Any = torch.jit.trace
        traced = trace(sizes, (torch.zeros(2, 3),))
    assert traced(torch.zeros(5, 4)).tolist() == [[5, 4], [4, 7]]
