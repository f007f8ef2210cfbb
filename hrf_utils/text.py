"""Words: what a post's text is once it is safe to store, and which posts say the same."""

import re

import numpy as np
import pandas as pd
from rensa import RMinHash
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LONGEST = 25_000
"""Characters kept of a text: the longest post that X allows."""

ALIKE = 0.7
"""Estimated Jaccard similarity from which two texts count as copies."""
_PERMUTATIONS, _ROWS, _SHINGLE, _PREFIX = 128, 4, 5, 50
_AT_ONCE = 10_000
"""Texts whose shingles are held at once: they take a hundred times the room of the digests."""
_MIX = np.array([2654435761, 40503, 2246822519, 3266489917])
"""Odd numbers that fold the four values of a band into one 64-bit key."""


def clean(text: str) -> str:
    """Text that every store and page can hold: no NUL, no lone surrogates, at most `LONGEST`."""
    text = text.replace("\x00", "").encode("utf8", "replace").decode("utf8")
    return text[:LONGEST].strip()


def canonical(text: str) -> str:
    """What two copies of a post have in common.

    Lower case; links, mentions, retweet marks, HTML entities, punctuation and emoji removed.
    A text of which nothing remains (only emoji, say) stands for itself.
    """
    lowered = re.sub(r"https?://\S+|@\w+|&\w+;|\bRT\b", " ", text, flags=re.I).lower()
    words = re.findall(r"[^\W_]+", lowered)
    return " ".join(words) or text


FORMS = {"links": r"(?i:https?://|\bwww\.)\S+", "retweets": r"\b(?:RT|rt(?=\s+@))\b(?:\s+@\w+:?)?",
         "mentions": r"(?<!\w)@\w+", "hashtags": r"#(?=\w)"}
"""What a task's ``normalise`` may leave out of texts before they are learned from or scored; of hashtags, the sign."""


def one_form(texts: pd.Series, forms: tuple[str, ...]) -> pd.Series:
    """Texts without some `FORMS`, so that how a post was collected cannot tell what it says."""
    for form in [form for form in FORMS if form in forms]:
        texts = texts.str.replace(FORMS[form], " ", regex=True)
    return texts.str.split().str.join(" ") if forms else texts


def near_duplicates(texts: pd.Series) -> np.ndarray:
    """Group texts that are copies of each other, or nearly.

    Two texts are linked when the MinHash estimate of the Jaccard similarity of their five-character
    shingles reaches `ALIKE`, or when their first fifty canonical characters agree (a repost
    that was cut off); groups are the connected components of the links.
    Method: Broder, "On the resemblance and containment of documents", 1997, with banding.

    Parameters
    ----------
    texts : Series of str, shape (n,)

    Returns
    -------
    ndarray of int, shape (n,): group number; groups are numbered by first appearance.
    """
    plain = [canonical(text) for text in texts]
    if not plain:
        return np.array([], dtype=int)
    digests = np.concatenate([_digests(plain[start:start + _AT_ONCE]) for start in range(0, len(plain), _AT_ONCE)])
    prefixes = pd.Series(plain).str[:_PREFIX]
    group = components(len(plain), _neighbours(prefixes[prefixes.str.len() == _PREFIX]))
    for start in range(0, _PERMUTATIONS, _ROWS):
        found = _neighbours(pd.Series(digests[:, start:start + _ROWS] @ _MIX))
        apart = found[group[found[:, 0]] != group[found[:, 1]]]
        linked = group[apart[_alike(digests, apart)]]
        group = components(len(group), linked)[group]
    return group


def _digests(plain: list[str]) -> np.ndarray:
    """MinHash digests of texts, shape (n, permutations)."""
    shingles = [list({p[i:i + _SHINGLE] for i in range(max(1, len(p) - _SHINGLE + 1))}) for p in plain]
    return np.array(RMinHash.digests_from_token_sets(shingles, _PERMUTATIONS, 42), np.uint32)


def _alike(digests: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Whether the texts of each pair (m, 2) reach `ALIKE` by their digests (n, permutations); bool, shape (m,)."""
    parts = np.array_split(pairs, len(pairs) // _AT_ONCE + 1)
    shares = [(digests[part[:, 0]] == digests[part[:, 1]]).mean(axis=1) for part in parts]
    return np.concatenate(shares) >= ALIKE


def _neighbours(key: pd.Series) -> np.ndarray:
    """Pairs (row, first row with the same key) and (row, previous row with it); shape (m, 2)."""
    rows = pd.Series(key.index, index=key.index)
    by_key = rows.groupby(key)
    pairs = pd.concat([pd.DataFrame({"a": rows, "b": by_key.transform("first")}),
                       pd.DataFrame({"a": rows, "b": by_key.shift(1)})]).dropna()
    return pairs[pairs["a"] != pairs["b"]].to_numpy(dtype=int)


def components(n: int, links: np.ndarray) -> np.ndarray:
    """Number the connected components of `n` rows under `links` (m, 2) by first appearance."""
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(n, n))
    return pd.factorize(connected_components(graph, directed=False)[1])[0]
