"""Batches, number formats, and the cascade."""

import numpy as np
import pytest
import torch

from hrf_utils import confidence, inference


@pytest.mark.parametrize("tokens", [64, 4096])
def test_batches_hold_every_row_once_and_no_more_tokens_than_allowed(tokens, monkeypatch):
    monkeypatch.setattr(inference, "BATCH_TOKENS", tokens)
    lengths = np.random.default_rng(0).integers(2, 100, 500)
    dealt = list(inference.batches(lengths))
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
