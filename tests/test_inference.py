"""Batches, number formats, and the cascade."""

from threading import get_ident

import numpy as np
import pytest
import torch
import transformers
from conftest import bfloat16

from hrf_utils import confidence, inference, lean


@pytest.mark.parametrize("tokens", [64, 4096])
def test_batches_hold_every_row_once_and_no_more_tokens_than_allowed(tokens):
    lengths = np.random.default_rng(0).integers(2, 100, 500)
    dealt = list(inference.batches(lengths, tokens))
    assert sorted(np.concatenate(dealt)) == list(range(500))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= tokens for rows in dealt)
    assert [lengths[rows].max() for rows in dealt] == sorted(lengths[rows].max() for rows in dealt)
    assert len(dealt) < 500 if tokens > 64 else len(dealt) > 200


def test_scores_come_in_the_order_of_the_posts_whatever_their_length():
    class Tokenizer:
        pad_token_id = 0

    ids = [[k + 1] * (1 + (7 * k) % 23) for k in range(60)]
    got = inference.logits(lambda ids, mask: torch.stack([ids.amax(1), mask.sum(1)], 1), Tokenizer(), ids)
    assert got[:, 0].tolist() == [k + 1 for k in range(60)]
    assert got[:, 1].tolist() == [len(one) for one in ids]


@pytest.mark.parametrize("most", [40, 2048])
def test_scores_do_not_depend_on_how_many_threads_there_are(monkeypatch, most):
    class Tokenizer:
        pad_token_id = 0

    monkeypatch.setattr(inference, "BATCH_TOKENS", most)
    ids = [[k % 50 + 1] * (1 + (7 * k) % 23) for k in range(600)]
    seen, before = set(), torch.get_num_threads()

    def answer(ids, mask):
        seen.add((get_ident(), torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return torch.stack([ids.amax(1), mask.sum(1)], 1)

    try:
        torch.set_num_threads(3)
        got = inference.logits(answer, Tokenizer(), ids)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert got.tolist() == [[k % 50 + 1, len(one)] for k, one in enumerate(ids)]
    assert get_ident() not in {thread for thread, *_ in seen} and {tuple(rest) for _, *rest in seen} == {(1, True)}


def test_a_tokenizer_is_given_only_so_much_at_once(monkeypatch):
    monkeypatch.setattr(inference, "_CHARACTERS", 10)
    given = []

    def tokenizer(texts, truncation):
        given.append(texts)
        return {"input_ids": [[len(text)] for text in texts]}

    texts = ["a" * k for k in (3, 4, 30, 1, 0, 2)]
    assert inference.tokenise(tokenizer, texts) == [[len(text)] for text in texts]
    assert [len(part) for part in given] == [3, 3] and inference.tokenise(tokenizer, []) == []


@bfloat16
@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_electra"])
def test_the_lean_encoder_answers_as_the_one_it_is_made_from(kind, request):
    encoder = transformers.AutoModel.from_pretrained(request.getfixturevalue(kind)).eval()
    assert lean.fits(encoder)
    for name, weights in encoder.named_parameters():  # as large as trained ones, so that attention is not even
        weights.data.mul_(3 if "weight" in name and "LayerNorm" not in name else 1)
    ids, mask = torch.randint(5, 60, (7, 11)), torch.ones(7, 11, dtype=torch.long)
    mask[2, 4:], mask[5, 1:] = 0, 0
    with torch.inference_mode():
        true = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        got = lean.Lean(encoder)(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    kept = mask.bool()
    assert (got - true)[kept].abs().max() < 0.1 and (got - true)[kept].abs().mean() < 0.012
    assert true[kept].std() > 0.5


def test_the_counter_answers_alone_only_where_it_changes_almost_nothing():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 2000)
    counted = np.full((2000, 3), 0.1)
    sure = rng.random(2000)
    counted[np.arange(2000), np.where(sure > 0.6, labels, (labels + 1) % 3)] += 0.1 + 0.5 * sure
    counted /= counted.sum(axis=1, keepdims=True)
    mixed = np.eye(3)[labels]
    limit = confidence.fit_settled(counted, mixed, labels, [2])
    settled = counted.max(axis=1) >= limit
    assert 0.38 < settled.mean() < 0.42
    assert (counted.argmax(axis=1) != labels)[settled].sum() <= 10
    assert confidence.fit_settled(np.roll(mixed, 1, axis=1), mixed, labels, [2]) > 1
