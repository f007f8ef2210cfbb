"""Why an answer: how much each word of a post counts for the label it got."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

_WORD = re.compile(r"\S+")
_LONGEST = 60  # words that are weighed of a text; the rest stays as it is


def occlusion(texts: list[str], predict: Callable[[list[str]], pd.DataFrame]) -> list[pd.DataFrame]:
    """Weigh each word by what its removal takes from the probability of the label that was given.

    Occlusion needs nothing but predictions, so that it is true to whatever model gives them (Zeiler and
    Fergus, "Visualizing and understanding convolutional networks", 2014; for text Li, Monroe and
    Jurafsky, "Understanding neural networks through representation erasure", 2016).

    Parameters
    ----------
    texts : posts, shape (n,)
    predict : texts to a frame with ``label`` and p0 … p(K-1)

    Returns
    -------
    For each text a frame with ``word`` and ``weight``: the fall of the label's probability without the
    word, between -1 and 1, positive where the word speaks for the label.
    """
    spans = [list(_WORD.finditer(text))[:_LONGEST] for text in texts]
    variants = [text[:word.start()] + text[word.end():] for text, words in zip(texts, spans, strict=True)
                for word in words]
    answers = predict([*texts, *variants])
    chances = answers.filter(regex=r"^p\d+$").to_numpy()
    whole, without = chances[:len(texts)], np.split(
        chances[len(texts):], np.cumsum([len(words) for words in spans])[:-1])
    labels = answers["label"].to_numpy()[:len(texts)]
    return [pd.DataFrame({"word": [word.group() for word in words], "weight": row[label] - rows[:, label]})
            for words, row, rows, label in zip(spans, whole, without, labels, strict=True)]
