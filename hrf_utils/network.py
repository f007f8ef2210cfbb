"""The network of a model: an encoder that reads, and beside it a linear model that counts.

The reader is a pretrained encoder whose token vectors are averaged and classified. The counter is a
logistic regression on TF-IDF of word pieces and their pairs. Both are calibrated, and the answer mixes
their probabilities: they err on different posts. Everything is one `torch` module, so that
one file of weights and one ONNX graph hold it all.

Where posts have kinds, both halves tell strata apart, the kinds within each label, and a label is as probable as its
strata together: news about a movement and posts about the weather have little in common but that neither supports it.
"""

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import SequenceClassifierOutput

BUCKETS = 2**18
"""Pairs of word pieces are hashed into this many places after the single pieces."""
READER_SHARE = 2 / 3
"""How much of the answer is the reader's."""
_PRIME = 1_000_003


class Reader(torch.nn.Module):
    """An encoder with a linear head on the mean of its token vectors (Reimers and Gurevych, 2019)."""

    def __init__(self, encoder: PreTrainedModel, labels: int):
        super().__init__()
        self.encoder, self.config = encoder, encoder.config
        self.dropout = torch.nn.Dropout(0.1)
        self.head = torch.nn.Linear(encoder.config.hidden_size, labels)
        torch.nn.init.normal_(self.head.weight, std=0.02)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor,
                labels: torch.Tensor | None = None) -> SequenceClassifierOutput:
        """Logits of shape (posts, labels); `labels` are named for `Trainer`, which computes the loss itself."""
        vectors = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = self.pool(vectors, attention_mask).to(self.head.weight.dtype)
        return SequenceClassifierOutput(logits=self.head(self.dropout(pooled)))

    def pool(self, vectors: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """One vector a post, from its token vectors: their mean."""
        mask = attention_mask.unsqueeze(-1).to(vectors.dtype)
        return (vectors * mask).sum(1) / mask.sum(1).clamp(min=1)

    def depth(self, name: str) -> int:
        """Where a parameter stands: 0 for the embeddings, then the layers from 1, the head above them."""
        if name.startswith("head"):
            return self.config.num_hidden_layers + 1
        return next((int(part) + 1 for part in name.split(".") if part.isdigit()), 0)

    def freeze(self, share: float) -> None:
        """Let a share of the layers, from below, learn no more, and the embeddings with them; 0 frees all."""
        lowest = round(share * self.config.num_hidden_layers)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not lowest or self.depth(name) > lowest)


class Counter(torch.nn.Module):
    """TF-IDF of word pieces and their pairs times a weight for each label, as `fit_counter` fits it."""

    def __init__(self, vocabulary: int, labels: int, special: list[int]):
        super().__init__()
        self.register_buffer("idf", torch.zeros(vocabulary + BUCKETS))
        self.register_buffer("weight", torch.zeros(vocabulary + BUCKETS, labels))
        self.register_buffer("bias", torch.zeros(labels))
        self.register_buffer("special", torch.tensor(sorted(special)))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        vocabulary = len(self.idf) - BUCKETS
        counts = (input_ids.unsqueeze(-1) != self.special).all(-1)
        pairs = vocabulary + (input_ids[:, :-1] * _PRIME + input_ids[:, 1:]) % BUCKETS
        terms = torch.cat([input_ids, pairs], 1)
        counts = torch.cat([counts, counts[:, :-1] & counts[:, 1:]], 1)
        same = (terms.unsqueeze(2) == terms.unsqueeze(1)) & counts.unsqueeze(1)
        frequency = same.sum(2).clamp(min=1).to(self.idf.dtype)
        value = self.idf[terms] * (1 + frequency.log()) * counts
        length = (value**2 / frequency).sum(1, keepdim=True).clamp(min=1e-12).sqrt()
        share = value / (frequency * length)
        return (share.unsqueeze(2) * self.weight[terms]).sum(1) + self.bias


class Network(torch.nn.Module):
    """Two thirds of what the reader thinks and one of what the counter does; logits are log probabilities.

    ``config.label_of`` has the label of each stratum; without kinds they are the same.
    """

    def __init__(self, reader: Reader, counter: Counter):
        super().__init__()
        self.reader, self.counter, self.config = reader, counter, reader.config

    @property
    def device(self) -> torch.device:
        return self.counter.bias.device

    def strata(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits of reader and counter apart, shape (2, posts, strata)."""
        return torch.stack([self.reader(input_ids, attention_mask).logits.float(), self.counter(input_ids)])

    def halves(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits of reader and counter apart, shape (2, posts, labels)."""
        return of_labels(self.strata(input_ids, attention_mask), self.config.label_of)

    def counted(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Logits of the counter alone, shape (posts, labels)."""
        return of_labels(self.counter(input_ids), self.config.label_of)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits of shape (posts, labels) for token ids and their mask, both (posts, tokens)."""
        read = of_labels(self.reader(input_ids, attention_mask).logits.float(), self.config.label_of).softmax(1)
        return mix(read, self.counted(input_ids).softmax(1)).clip(1e-9).log()


def of_labels(logits: torch.Tensor, label_of: list[int]) -> torch.Tensor:
    """Logits (…, labels) from those of strata (…, strata): a label is as probable as its strata together."""
    if len(label_of) == len(set(label_of)):
        return logits
    own = [[at for at, of in enumerate(label_of) if of == label] for label in range(max(label_of) + 1)]
    return torch.stack([logits[..., one].logsumexp(-1) for one in own], -1)


def mix(read: torch.Tensor | np.ndarray, counted: torch.Tensor | np.ndarray,
        share: float = READER_SHARE) -> torch.Tensor | np.ndarray:
    """Probabilities of reader and counter as one; `share` is the reader's."""
    return share * read + (1 - share) * counted


def build(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: int) -> Network:
    """A network around an encoder, its head new and its counter empty.

    The encoder learns without dropout, and attends without the fused kernel: on a processor both together cost
    half as much time again for short posts. Each label is a stratum unless the encoder has a ``config.label_of``.
    """
    special = {tokenizer.pad_token_id, *tokenizer("")["input_ids"]}
    encoder.pooler = None
    encoder.set_attn_implementation("sdpa" if torch.cuda.is_available() else "eager")
    for part in encoder.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    encoder.config.label_of = getattr(encoder.config, "label_of", list(range(labels)))
    strata = len(encoder.config.label_of)
    return Network(Reader(encoder, strata), Counter(encoder.config.vocab_size, strata, list(special)))


def fit_counter(counter: Counter, token_ids: list[list[int]], strata: np.ndarray, weights: np.ndarray) -> None:
    """Fit the counter to token ids (n lists), the strata of their posts (n,), and how much each of these counts (n,).

    Terms that stand in one text only are left out.
    """
    special, vocabulary, terms = counter.special.numpy(), len(counter.idf) - BUCKETS, []
    for ids in map(np.array, token_ids):
        kept = ~np.isin(ids, special)
        pairs = vocabulary + (ids[:-1] * _PRIME + ids[1:]) % BUCKETS
        terms.append(np.concatenate([ids[kept], pairs[kept[:-1] & kept[1:]]]))
    rows = np.repeat(np.arange(len(terms)), [len(found) for found in terms])
    counts = sp.csr_array((np.ones(len(rows)), (rows, np.concatenate(terms))), (len(terms), len(counter.idf)))
    known = np.flatnonzero(counts.astype(bool).sum(axis=0) > 1)
    tfidf = TfidfTransformer(sublinear_tf=True)
    model = LogisticRegression(C=5, max_iter=1000)
    model.fit(tfidf.fit_transform(counts[:, known]), strata, sample_weight=weights)
    weight, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        weight, bias = np.vstack([-weight / 2, weight / 2]), np.array([-bias[0] / 2, bias[0] / 2])
    counter.idf[known] = torch.tensor(tfidf.idf_, dtype=torch.float)
    counter.weight[known] = torch.tensor(weight.T, dtype=torch.float)
    counter.bias.copy_(torch.tensor(bias, dtype=torch.float))
