"""The layers of BERT as few, fused operations in bfloat16, for processors that multiply it by themselves.

The same mathematics as the library's encoder, which spends more time around its matrix products than in them: weights
are packed once, GELU and residual sums are done within the products (oneDNN), and what is padded is struck out of the
values instead of the scores.
"""

from types import SimpleNamespace

import torch

KINDS = {"bert", "electra", "roberta", "xlm-roberta", "camembert"}
"""Encoders made of these layers."""
_HIGHEST = 80.0
"""Scores of attention are held within this, so that their exponential is a number; none comes near it."""
_ROWS = 4096
"""Rows of the products for which weights are packed."""


def fits(encoder: torch.nn.Module) -> bool:
    """Whether `Lean` can stand in for an encoder here."""
    return (encoder.config.model_type in KINDS and encoder.config.hidden_act == "gelu"
            and not torch.cuda.is_available() and torch.backends.mkldnn.is_available())


class _Linear:
    """A linear layer with its weights packed, and what follows it done within."""

    def __init__(self, *parts: torch.nn.Linear, scale: float = 1.0):
        scales = [scale, *[1.0] * (len(parts) - 1)]  # of the first part
        weight = torch.cat([part.weight * by for part, by in zip(parts, scales, strict=True)])
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16(), _ROWS)
        self.bias = torch.cat([part.bias * by for part, by in zip(parts, scales, strict=True)]).bfloat16()

    def __call__(self, x: torch.Tensor, then: str = "none") -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, then, [], "none")

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, "add")


class _Layer:
    def __init__(self, layer: torch.nn.Module, heads: int):
        own, self.heads = layer.attention.self, heads
        self.joint = _Linear(own.query, own.key, own.value, scale=(own.query.out_features // heads) ** -0.5)
        self.out, self.wide = _Linear(layer.attention.output.dense), _Linear(layer.intermediate.dense)
        self.narrow = _Linear(layer.output.dense)
        self.first, self.second = layer.attention.output.LayerNorm, layer.output.LayerNorm

    def __call__(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        posts, tokens, width = x.shape
        query, key, value = self.joint(x).view(posts, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).contiguous()
        value = torch.cat([value * kept, kept.expand(posts, self.heads, tokens, 1)], -1)  # its last column sums
        scores = torch.matmul(query, key.mT)
        mixed = torch.matmul(scores.clamp_(-_HIGHEST, _HIGHEST).exp_(), value)
        mixed = (mixed[..., :-1] / mixed[..., -1:]).transpose(1, 2).reshape(posts, tokens, width)
        x = self.first(self.out.plus(mixed, x))
        return self.second(self.narrow.plus(self.wide(x, "gelu"), x))


class Lean(torch.nn.Module):
    """An encoder that answers as the one it is made from, in bfloat16."""

    def __init__(self, encoder: torch.nn.Module):
        super().__init__()
        self.config = encoder.config
        with torch.inference_mode():
            self.layers = [_Layer(layer, encoder.config.num_attention_heads) for layer in encoder.encoder.layer]
        self.encoder = encoder.bfloat16()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        """An object with ``last_hidden_state``, shape (posts, tokens, width), as the library's encoders give it."""
        x, kept = self.encoder.embeddings(input_ids=input_ids), attention_mask[:, None, :, None].bfloat16()
        x = getattr(self.encoder, "embeddings_project", torch.nn.Identity())(x)
        for layer in self.layers:
            x = layer(x, kept)
        return SimpleNamespace(last_hidden_state=x)
