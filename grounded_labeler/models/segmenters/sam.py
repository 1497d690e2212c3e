"""SAM and MobileSAM on Meta's segment-anything 1.0."""

from collections.abc import Mapping
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, Sam
from segment_anything.modeling.image_encoder import Attention
from torch import Tensor, nn

from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.segmenters.architecture import (
    Architecture,
    embed_points,
    traced_prompts,
)
from grounded_labeler.models.segmenters.facts import CORNERS, NO_POINT, RGB, SegmenterFacts


class Encoder(nn.Module):
    """Normalised pixels, padded: float32 (1, 3, S, S), to the embedding (1, C, h, w)."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.encoder = model.image_encoder
        if isinstance(self.encoder, ImageEncoderViT):
            for block in self.encoder.blocks:
                # One that another encoder of this model has taken over stays.
                if isinstance(block.attn, Attention) and block.attn.use_rel_pos:
                    block.attn = RelativeAttention(block.attn)

    def forward(self, pixels: Tensor) -> Tensors:
        return (self.encoder(pixels),)


class RelativeAttention(nn.Module):
    """segment-anything's `Attention` of cells (B, H, W, C), of the one size it is made for.

    The package counts in each run, on the CPU, which position is how far from which. To bring
    that to a GPU waits for it, which no CUDA graph may.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, attention: Attention) -> None:
        """Take over the layers and weights of `attention`."""
        super().__init__()
        self.num_heads, self.scale = attention.num_heads, attention.scale
        self.qkv, self.proj = attention.qkv, attention.proj
        self.rel_pos_h, self.rel_pos_w = attention.rel_pos_h, attention.rel_pos_w
        self.register_buffer("rows", _distances(self.rel_pos_h), persistent=False)
        self.register_buffer("columns", _distances(self.rel_pos_w), persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        batch, height, width, _ = cells.shape
        qkv = self.qkv(cells).reshape(batch, height * width, 3, self.num_heads, -1)
        by_head = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2)
        queries, keys, values = by_head.unbind(0)  # (B * heads, H * W, d)
        scores = (queries * self.scale) @ keys.transpose(-2, -1)
        grid = queries.unflatten(1, (height, width))
        by_row = torch.einsum("bhwc,hkc->bhwk", grid, self.rel_pos_h[self.rows])
        by_column = torch.einsum("bhwc,wkc->bhwk", grid, self.rel_pos_w[self.columns])
        by_place = scores.view(-1, height, width, height, width)
        placed = by_place + by_row[..., None] + by_column[:, :, :, None]
        weights = placed.view(scores.shape).softmax(dim=-1)
        heads = (weights @ values).view(batch, self.num_heads, height, width, -1)
        attended: Tensor = self.proj(heads.permute(0, 2, 3, 1, 4).reshape(batch, height, width, -1))
        return attended


def _distances(table: Tensor) -> Tensor:
    """Which row of a table (2 n - 1, d) holds how far each of n places is from each: (n, n)."""
    places = torch.arange((len(table) + 1) // 2, device=table.device)
    return places[:, None] - places + len(places) - 1


class Decoder(nn.Module):
    """An embedding and the prompts of N objects to the logits of their masks.

    See `Architecture.parts`; the logits are (N, 4, 4h, 4w). It computes what segment-anything's
    `MaskDecoder.predict_masks` does, on its own modules, but makes no copy of the embedding for
    each object: what the first layer makes of the image alone is made once.
    """

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = model.prompt_encoder, model.mask_decoder
        self.side = model.image_encoder.img_size

    def forward(
        self, embedding: Tensor, points: Tensor, kinds: Tensor, earlier: Tensor, has_earlier: Tensor
    ) -> Tensors:
        encoder, decoder = self.prompt_encoder, self.mask_decoder
        none = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense = has_earlier * encoder.mask_downscaling(earlier) + (1 - has_earlier) * none
        sparse = embed_points(
            points,
            kinds,
            self.side,
            encode_positions=encoder.pe_layer._pe_encoding,
            no_point=encoder.not_a_point_embed.weight,
            kind_embeddings=[own.weight for own in encoder.point_embeddings],
        )
        own = torch.cat((decoder.iou_token.weight, decoder.mask_tokens.weight))
        tokens = torch.cat((own.expand(sparse.shape[0], -1, -1), sparse), 1)
        # 16 bits would move the image against the points.
        with torch.autocast(embedding.device.type, enabled=False):
            places = encoder.get_dense_pe()
        tokens, cells = decoder.transformer(embedding + dense, places, tokens)
        return self._logits(tokens, cells), decoder.iou_prediction_head(tokens[:, 0])

    def _logits(self, tokens: Tensor, cells: Tensor) -> Tensor:
        """Logits (N, 4, 4h, 4w) of tokens (N, T, C) and cells (N, h * w, C)."""
        decoder = self.mask_decoder
        first, norm, activate, second, activate_too = decoder.output_upscaling
        finer = _quarter(first, cells)
        finer = nn.functional.layer_norm(finer, norm.weight.shape, norm.weight, norm.bias, norm.eps)
        finer = activate_too(_quarter(second, activate(finer)))
        mixtures = [
            network(tokens[:, 1 + number])
            for number, network in enumerate(decoder.output_hypernetworks_mlps)
        ]
        logits = finer @ torch.stack(mixtures, 2)
        # Rows and columns, of the cell, of its quarter and of the quarter's quarter.
        grid = (*self.prompt_encoder.image_embedding_size, 2, 2, 2, 2)
        sorted_out: Tensor = logits.unflatten(1, grid).permute(0, 7, 1, 3, 5, 2, 4, 6)
        return sorted_out.flatten(5, 7).flatten(2, 4)


def _quarter(upscale: Any, cells: Tensor) -> Tensor:  # noqa: ANN401 - torch's bias may be none
    """Cut each of K cells, float32 (N, K, C), into four: (N, 4K, D), those of a cell together.

    `upscale`, a ConvTranspose2d, makes 2 x 2 pixels of each, in which no other has a part. That
    is a product with one matrix, so channels stay last: to bring them there and back for a
    convolution took OpenVINO a third of the decoder's time.
    """
    weight = upscale.weight.permute(2, 3, 1, 0).flatten(0, 2)
    quarters = nn.functional.linear(cells, weight, upscale.bias.repeat(4))
    return quarters.reshape(cells.shape[0], -1, upscale.out_channels)


def architecture(model: Sam) -> Architecture:
    """Take over `model`, a segment_anything Sam of any size."""
    height, width = model.prompt_encoder.mask_input_size
    facts = SegmenterFacts(
        "padded",
        model.image_encoder.img_size,
        mean=_rgb(model.pixel_mean),
        deviation=_rgb(model.pixel_std),
        grid_hw=(height, width),
        threshold=model.mask_threshold,
    )
    return Architecture(split(model.eval().requires_grad_(False)), facts)


def split(model: Sam) -> Mapping[str, SubModel]:
    """A model's two graphs: "encoder", once an image, and "decoder", for some prompts."""
    side = model.image_encoder.img_size
    encoder = Encoder(model)
    grid_hw = model.prompt_encoder.mask_input_size

    def pixels() -> Tensors:
        return (torch.randn(1, 3, side, side),)

    def prompts() -> Tensors:
        kinds = (1, 0, NO_POINT, *CORNERS)
        return (*encoder(*pixels()), *traced_prompts(side, grid_hw, kinds))

    return {
        "encoder": SubModel(encoder, pixels, fixed_shapes=True),
        "decoder": SubModel(Decoder(model), prompts),
    }


def _rgb(values: Tensor) -> RGB:
    red, green, blue = values.flatten().tolist()
    return red, green, blue
