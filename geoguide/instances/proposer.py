"""The network that proposes masks: queries among a scene's superpoints, in the manner of Mask3D, without classes."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from geoguide.instances.parts import MEASURES, RELATIONS
from geoguide.ops.arrays import as_config_error, number, whole

_EMPTY = 1e-6
_LIMIT = 5.0  # of the logits that the next round sees


@dataclass(frozen=True)
class ProposerConfig:
    """Sizes of the network; not from the paper, which takes Mask3D's masks."""

    features: int = 498  # C1 of the frozen features
    width: int = 96
    heads: int = 6
    layers: int = 3
    pair: int = 24  # width of what is known of a pair
    matched: int = 32  # width in which queries and parts are multiplied
    rounds: int = 2  # a mask is drawn, then drawn again with the first one in view
    dropout: float = 0.1

    def __post_init__(self) -> None:
        with as_config_error("proposer"):
            for name in ("features", "width", "heads", "pair", "matched", "rounds"):
                whole(name, getattr(self, name), 1)
            whole("layers", self.layers, 0)
            number("dropout", self.dropout)


class Proposals(NamedTuple):
    """Masks of Q queries over S parts.

    Attributes:
        logits: Of each round, float32 [Q, S]: above 0 where a part is in the mask.
        score: float32 [Q], logit of the IoU that the last mask is thought to have.
    """

    logits: list[Tensor]
    score: Tensor


class MaskProposer(nn.Module):
    """Masks from parts. A permutation of the parts permutes the masks' columns; other queries change no query's mask.

    Args:
        config: Sizes.
    """

    def __init__(self, config: ProposerConfig) -> None:
        super().__init__()
        self.config, width, pair = config, config.width, config.pair
        entries = MEASURES + config.features
        self.part = nn.Sequential(nn.LayerNorm(entries), nn.Dropout(config.dropout), nn.Linear(entries, width))
        self.pair = nn.Sequential(nn.Linear(RELATIONS, pair), nn.GELU(), nn.Linear(pair, pair), nn.GELU())
        self.layers = nn.ModuleList(_Layer(width, config.heads, pair) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.rounds = nn.ModuleList(_Round(config, again=number > 0) for number in range(config.rounds))
        self.around = nn.Linear(pair, _Round.AROUND)
        self.score = _two_layers(2 * width + 4, 64, 1)

    def forward(self, measures: Tensor, relations: Tensor, share: Tensor, queries: Tensor) -> Proposals:
        """Propose a mask for each query. O(S^2 + Q S) time and memory, times widths.

        Args:
            measures: float32 [S, MEASURES + C1], see `Parts.measures`.
            relations: float32 [S, S, RELATIONS], see `Parts.relations`.
            share: float32 [S], each part's share of the scene's points.
            queries: int64 [Q], the parts that masks are asked around.

        Returns:
            The masks and their scores.
        """
        parts, pairs = self.part(measures), self.pair(relations)  # [S, D], [S, S, F]
        for layer in self.layers:
            parts = layer(parts, pairs)
        parts = self.norm(parts)
        query, around = parts[queries], self.around(pairs)  # [Q, D], [S, S, 8]
        logits, pooled = [], query
        for drawn in self.rounds:
            last = logits[-1] if logits else None
            query, pooled, mask = drawn(query, parts, pairs[queries], around, share, last)
            logits.append(mask)
        inside = logits[-1].sigmoid()
        chosen = (inside > 0.5) * share  # [Q, S]
        sure = ((inside - 0.5) * chosen).sum(1) / (chosen.sum(1) + _EMPTY)
        size = ((inside * share).sum(1) + _EMPTY).log() / 3 + 1
        count, most = (inside > 0.5).float().sum(1).log1p() / 3, inside.max(1).values
        told = torch.cat([query, pooled, torch.stack([sure, size, count, most], 1)], 1)
        return Proposals(logits, self.score(told)[:, 0])


class _Layer(nn.Module):
    """Attention among parts, biased by what is known of each pair, and two dense layers."""

    def __init__(self, width: int, heads: int, pair: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.out, self.bias = nn.Linear(width, 3 * width), nn.Linear(width, width), nn.Linear(pair, heads)
        self.dense = _two_layers(width, 2 * width, width)

    def forward(self, parts: Tensor, pairs: Tensor) -> Tensor:
        count, width = parts.shape
        mixed = self.mixed(self.before(parts)).view(count, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(1, 2, 0, 3)  # [H, S, D / H] each
        alike = query @ key.transpose(1, 2) * (width // self.heads) ** -0.5 + self.bias(pairs).permute(2, 0, 1)
        parts = parts + self.out((alike.softmax(-1) @ value).transpose(0, 1).reshape(count, width))
        return parts + self.dense(self.between(parts))


class _Round(nn.Module):
    """Draws the mask of every query, then lets the query look at what is inside."""

    AROUND = 8

    def __init__(self, config: ProposerConfig, again: bool) -> None:
        super().__init__()
        width = config.width
        self.asked, self.offered = nn.Linear(width, config.matched), nn.Linear(width, config.matched)
        self.head = _two_layers(config.matched + config.pair + (self.AROUND + 1 if again else 0), 48, 1)
        self.update = _two_layers(2 * width, width, width)

    def forward(
        self, query: Tensor, parts: Tensor, pairs: Tensor, around: Tensor, share: Tensor, last: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next query [Q, D], the mean of the parts inside [Q, D], and the mask's logits [Q, S]."""
        told = [self.asked(query)[:, None] * self.offered(parts)[None], pairs]  # [Q, S, 32], [Q, S, F]
        if last is not None:
            count = len(parts)
            near = _weights(last, share) @ around.reshape(count, -1)  # how each part lies to the last mask
            told += [near.view(len(query), count, self.AROUND), last[..., None].clamp(-_LIMIT, _LIMIT) / 3]
        mask = self.head(torch.cat(told, -1))[..., 0]  # [Q, S]
        pooled = _weights(mask, share) @ parts
        return query + self.update(torch.cat([query, pooled], 1)), pooled, mask


def _weights(mask: Tensor, share: Tensor) -> Tensor:
    """How much of each mask each part is, of points: [Q, S], rows of sum 1."""
    inside = mask.sigmoid() * share
    return inside / (inside.sum(1, keepdim=True) + _EMPTY)


def _two_layers(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))
