"""The encoder: a BERT whose utterance tokens read the utterance alone, with heads for labels and evidence.

One forward pass gives three things: a score per output (from the first token, which reads the utterance and its
context, and from the pooled utterance), evidence per token, and an utterance embedding that cannot depend on the context,
because nothing that it pools ever read any. `transformers` is not needed; the parameter names are those of its BertModel, so
any checkpoint of that shape loads.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from detector.labels import HARASSMENT_LABELS, OUTPUTS
from models.errors import ModelFilesError

_MASKED: Final = -1e4
"""Added to attention scores of tokens that may not be read; finite in half precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """Shape of the encoder. Names are those of a BERT `config.json`."""

    vocab_size: int
    hidden_size: int = 384
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 1536
    max_position_embeddings: int = 64
    layer_norm_eps: float = 1e-12
    dropout: float = 0.1


class LockedDropout(nn.Module):
    """Dropout with one mask per sequence (Gal and Ghahramani 2016); drawing one per token costs a sixth of a CPU step."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, hidden: Tensor) -> Tensor:
        """`hidden` (batch, length, width) in training with features dropped, else unchanged."""
        if not self.training or self.rate == 0.0:
            return hidden
        keep = torch.rand(hidden.shape[0], 1, hidden.shape[2], device=hidden.device) >= self.rate
        return hidden * (keep.to(hidden.dtype) / (1.0 - self.rate))


class Layer(nn.Module):
    """Self-attention and feed-forward, each with residual and layer norm after it (as in BERT)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        # Query, key and value in one product; the query's part holds the factor 1 / sqrt(width of a head).
        self.mixed = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.up = nn.Linear(width, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, width)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = LockedDropout(config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """`hidden` (batch, length, width), `mask` (batch, 1, length, length) additive."""
        batch, length, width = hidden.shape
        heads = self.mixed(hidden).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = heads[0], heads[1], heads[2]
        read = torch.softmax(query @ key.transpose(-1, -2) + mask, dim=-1) @ value
        read = read.transpose(1, 2).reshape(batch, length, width)
        hidden = self.attention_norm(hidden + self.dropout(self.attention_out(read)))
        return self.norm(hidden + self.dropout(self.down(functional.gelu(self.up(hidden)))))


class Encoder(nn.Module):
    """Embeddings and layers; knows the asymmetric mask, not the labels."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.embedding_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = LockedDropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, ids: Tensor, groups: Tensor) -> Tensor:
        """Hidden states (batch, length, width).

        Args:
            ids: (batch, length) int64 token ids.
            groups: (batch, length) int64: 0 padding, 1 utterance and its separator, 2 first token and context.
        """
        hidden = self.word_embeddings(ids) + self.position_embeddings.weight[: ids.shape[1]]
        hidden = self.dropout(self.embedding_norm(hidden))
        mask = attention_mask(groups).to(hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return hidden


def attention_mask(groups: Tensor) -> Tensor:
    """(batch, 1, length, length) additive float mask: nobody reads padding, the utterance reads only the utterance."""
    is_utterance = (groups == 1).float()
    is_other = (groups == 2).float()
    # In numbers rather than booleans: ONNX Runtime has no boolean selection.
    readable = is_utterance.unsqueeze(1) + is_other.unsqueeze(1) * (1.0 - is_utterance.unsqueeze(2))
    return ((1.0 - readable) * _MASKED).unsqueeze(1)


class Detector(nn.Module):
    """Encoder with heads.

    The label head is linear in the first token and in the mean of the utterance's tokens; when served, that product is
    taken outside the graph, row by row (`models.heads`), so the graph's own outputs are `hidden` and `evidence`.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.label_head = nn.Linear(2 * config.hidden_size, len(OUTPUTS))
        self.evidence_head = nn.Linear(config.hidden_size, len(HARASSMENT_LABELS))
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.label_head.weight, std=0.02)
        nn.init.zeros_(self.label_head.bias)
        nn.init.normal_(self.evidence_head.weight, std=0.02)
        nn.init.zeros_(self.evidence_head.bias)

    @property
    def config(self) -> EncoderConfig:
        """Shape of the encoder."""
        return self.encoder.config

    def graph(self, ids: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """`hidden` (batch, length, width) and `evidence` logits (batch, length, harassment labels)."""
        hidden = self.encoder(ids, groups)
        return hidden, self.evidence_head(hidden)

    def forward(self, ids: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Label logits (batch, outputs), evidence logits (batch, length, harassment labels), embeddings (batch, width)."""
        hidden, evidence = self.graph(ids, groups)
        pooled = pool(hidden, groups)
        logits = self.label_head(self.dropout(torch.cat([hidden[:, 0], pooled], dim=-1)))
        return logits, evidence, functional.normalize(pooled.float(), dim=-1)


def pool(hidden: Tensor, groups: Tensor) -> Tensor:
    """Mean over the utterance and its separator: (batch, width)."""
    weights = (groups == 1).to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


_BERT_NAMES: Final = (
    ("attention.output.dense", "attention_out"),
    ("attention.output.LayerNorm", "attention_norm"),
    ("intermediate.dense", "up"),
    ("output.dense", "down"),
    ("output.LayerNorm", "norm"),
)


def load_base(folder: Path) -> Encoder:
    """The base encoder as it was published, positions cut to what this project reads.

    Raises:
        ModelFilesError: `folder` holds no BERT in safetensors.
    """
    try:
        published = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "model.safetensors")
    except (OSError, ValueError) as error:
        raise ModelFilesError(f"no base encoder in {folder.name}: {error}") from error
    names = EncoderConfig.__dataclass_fields__
    config = replace(
        EncoderConfig(**{key: value for key, value in published.items() if key in names}), max_position_embeddings=64
    )
    state: dict[str, Tensor] = {}
    for name, value in weights.items():
        key = name.removeprefix("bert.")
        if key.startswith("encoder.layer."):
            number, _, rest = key.removeprefix("encoder.layer.").partition(".")
            for old, new in _BERT_NAMES:
                if rest.startswith(old):
                    rest = new + rest.removeprefix(old)
                    break
            state[f"layers.{number}.{rest}"] = value.float()
    for number in range(config.num_hidden_layers):
        for part in ("weight", "bias"):
            query, key, value = (
                state.pop(f"layers.{number}.attention.self.{name}.{part}") for name in ("query", "key", "value")
            )
            scale = (config.hidden_size // config.num_attention_heads) ** -0.5
            state[f"layers.{number}.mixed.{part}"] = torch.cat([query * scale, key, value])
    # Every token is of type 0, so that row joins the word embeddings for good.
    kind = weights["embeddings.token_type_embeddings.weight"][0].float()
    state["word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"].float() + kind
    state["position_embeddings.weight"] = weights["embeddings.position_embeddings.weight"][:64].float()
    state["embedding_norm.weight"] = weights["embeddings.LayerNorm.weight"].float()
    state["embedding_norm.bias"] = weights["embeddings.LayerNorm.bias"].float()
    encoder = Encoder(config)
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise ModelFilesError(f"{folder.name} is not a BERT of the expected shape: {error}") from error
    return encoder


def save_detector(model: Detector, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Writes `config.json` and `model.safetensors` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(asdict(model.config), indent=1) + "\n", encoding="utf-8")
    state = {name: value.detach().to(dtype).contiguous().cpu() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")


def load_detector(folder: Path) -> Detector:
    """Reads what `save_detector` wrote, in fp32, in evaluation mode.

    Raises:
        ModelFilesError: the files are missing or do not fit.
    """
    try:
        config = EncoderConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
        model = Detector(config)
        weights = load_file(folder / "model.safetensors")
        model.load_state_dict({name: value.float() for name, value in weights.items()})
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ModelFilesError(f"no detector in {folder.name}: {error}") from error
    return model.eval()
