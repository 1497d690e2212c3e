"""The package's fusion of image and text, without what waits for a GPU and what nobody reads."""

from collections.abc import Sequence
from typing import Any

import groundingdino.models.GroundingDINO.groundingdino as package
import torch
from groundingdino.models.GroundingDINO.utils import gen_sineembed_for_position, get_sine_pos_embed
from groundingdino.util.misc import NestedTensor, inverse_sigmoid
from torch import Tensor, nn

from grounded_labeler.models.runtime.graph import Tensors
from grounded_labeler.models.runtime.proposals import propose
from grounded_labeler.models.runtime.without_waiting import Sizes, without_waiting

_TEXT_CHANNELS = 256  # of a token's position, as the package has it


class Fusion(nn.Module):
    """Levels and text to boxes (B, Q, 4), cxcywh as fractions, and token scores (B, Q, T).

    It computes what the package's Transformer, its encoder and its decoder do in evaluation, on
    their own modules. The package makes boxes of all cells, here of the chosen ones; and in each
    layer it waits for a GPU, to read sizes and to look for what is no number. Nothing may be
    padded.
    """

    def __init__(self, model: package.GroundingDINO) -> None:
        super().__init__()
        self.position = model.backbone[1]
        self.transformer = model.transformer
        self.move_box, self.score = model.bbox_embed[-1], model.class_embed[-1]

    def forward(self, *inputs: Tensor) -> Tensors:
        *levels, encoded, mask, positions, self_attention = inputs
        of_text = mask, positions, self_attention
        sizes: Sizes = [(level.shape[2], level.shape[3]) for level in levels]
        shapes = self._shapes(sizes, encoded.device)
        cells, text = self._encode(levels, sizes, shapes, encoded, of_text)
        said = {"encoded_text": text, "text_token_mask": mask}
        chosen = self._choose(cells, sizes, said)
        states, boxes = self._decode(*chosen, cells, shapes, said)
        return boxes, self.score(states, said).sigmoid()

    def _encode(
        self,
        levels: Sequence[Tensor],
        sizes: Sizes,
        shapes: Tensor | Sizes,
        text: Tensor,
        of_text: Tensors,
    ) -> tuple[Tensor, Tensor]:
        """Let cells (B, S, C) and tokens (B, T, C) see themselves and each other."""
        mask, positions, self_attention = of_text
        encoder: Any = self.transformer.encoder
        cells, of_cells = _flat(levels), _flat([self._place(*one) for one in enumerate(levels)])
        of_tokens = get_sine_pos_embed(
            positions[..., None], num_pos_feats=_TEXT_CHANNELS, exchange_xy=False
        ).transpose(0, 1)
        centres = _centres(sizes, cells.device)[None, :, None]
        centres = centres.expand(cells.shape[0], -1, len(sizes), -1)
        for number, layer in enumerate(encoder.layers):
            if encoder.fusion_layers:
                cells, text = encoder.fusion_layers[number](
                    v=cells, l=text, attention_mask_v=None, attention_mask_l=~mask
                )
            if encoder.text_layers:
                text = encoder.text_layers[number](
                    src=text.transpose(0, 1),
                    src_mask=~self_attention,
                    src_key_padding_mask=~mask,
                    pos=of_tokens,
                ).transpose(0, 1)
            cells = layer(
                src=cells,
                pos=of_cells,
                reference_points=centres,
                spatial_shapes=shapes,
                level_start_index=None,
                key_padding_mask=None,
            )
        return cells, text

    def _shapes(self, sizes: Sizes, device: torch.device) -> Tensor | Sizes:
        """The sizes as the attentions of the layers take them."""
        return torch.as_tensor(sizes, dtype=torch.long, device=device)

    def _place(self, number: int, level: Tensor) -> Tensor:
        """What tells cells of one level from each other, and levels: like `level`."""
        nothing = torch.zeros_like(level[:, 0], dtype=torch.bool)
        places: Tensor = self.position(NestedTensor(level, nothing)).to(level.dtype)
        # A model of one level has none.
        embed: Any = getattr(self.transformer, "level_embed", None)
        return places if embed is None else places + embed[number].view(1, -1, 1, 1)

    def _choose(
        self, cells: Tensor, sizes: Sizes, said: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return queries (B, Q, C) and boxes (B, Q, 4), cxcywh, of the cells that fit best."""
        whole: Any = self.transformer
        kept, proposals = propose(cells, sizes)
        cells = whole.enc_output_norm(whole.enc_output(kept))
        fit = whole.enc_out_class_embed(cells, said).max(-1).values
        best = fit.topk(whole.num_queries, dim=1).indices[..., None]
        chosen = cells.gather(1, best.expand(-1, -1, cells.shape[-1]))
        moves = whole.enc_out_bbox_embed(chosen)
        boxes = (moves + proposals.gather(1, best.expand(-1, -1, 4))).sigmoid()
        if whole.embed_init_tgt:
            chosen = whole.tgt_embed.weight[None].expand(cells.shape[0], -1, -1)
        return chosen, boxes

    def _decode(
        self,
        queries: Tensor,
        boxes: Tensor,
        cells: Tensor,
        shapes: Tensor | Sizes,
        said: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return the last states (B, Q, C) and boxes (B, Q, 4)."""
        decoder: Any = self.transformer.decoder
        # The decoder has queries first, then images.
        states, boxes, cells = (one.transpose(0, 1) for one in (queries, boxes, cells))
        before = boxes
        for number, layer in enumerate(decoder.layers):
            before = boxes
            sines = gen_sineembed_for_position(boxes)
            states = layer(
                tgt=states,
                tgt_query_pos=decoder.ref_point_head(sines),
                tgt_query_sine_embed=sines,
                tgt_reference_points=boxes[:, :, None].expand(-1, -1, len(shapes), -1),
                memory_text=said["encoded_text"],
                text_attention_mask=~said["text_token_mask"],
                memory=cells,
                memory_spatial_shapes=shapes,
            )
            if number + 1 < len(decoder.layers):
                moves = decoder.bbox_embed[number](states)
                boxes = (moves + inverse_sigmoid(boxes)).sigmoid()
        states = decoder.norm(states)
        boxes = (self.move_box(states) + inverse_sigmoid(before)).sigmoid()
        return states.transpose(0, 1), boxes.transpose(0, 1)


class FusionOnGPU(Fusion):
    """The same, which never waits for the device."""

    def __init__(self, model: package.GroundingDINO) -> None:
        """Take over the modules of `model`, which computes nothing by itself any more."""
        super().__init__(model)
        without_waiting(self.transformer)

    def _shapes(self, sizes: Sizes, _: torch.device) -> Sizes:
        return sizes


def _flat(levels: Sequence[Tensor]) -> Tensor:
    """(B, C, h, w) each, to the cells of all levels, (B, S, C)."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)


def _centres(sizes: Sizes, device: torch.device) -> Tensor:
    """The centres of all cells, xy as fractions of the image: (S, 2)."""
    centres = []
    for height, width in sizes:
        down, across = (
            (torch.arange(cells, device=device) + 0.5) / cells for cells in (height, width)
        )
        rows, columns = torch.meshgrid(down, across, indexing="ij")
        centres.append(torch.stack((columns, rows), -1).view(-1, 2))
    return torch.cat(centres)
