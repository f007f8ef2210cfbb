"""What the queue is worth: labelled posts as if they had no label yet, revealed by the queue and at random.

A seed that was replayed is kept below ``data/studies/``, so that a study may be stopped and goes on where it was.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from hrf_utils import evaluation, files, labeling, settings
from hrf_utils.intervals import interval, resamples
from hrf_utils.tasks import Task

START = 200
"""Labels, drawn at random, that both ways begin with."""
RANDOM, QUEUE = "at random", "by the queue"
_DRAWS = 2000


def rare(rows: pd.DataFrame, task: Task) -> list[int]:
    """The task's positive labels with less than an even share of the rows; all positive ones if there are none."""
    share = rows["label"].value_counts(normalize=True)
    return [k for k in task.positive if share.get(k, 0) < 1 / len(task.labels)] or task.positive


def replay(rows: pd.DataFrame, task: Task, seed: int, mix: str, step: int, most: int, against: int) -> pd.DataFrame:
    """Reveal labels batch by batch, and judge a cheap model of them on rows apart.

    A fifth of the rows, related ones together, judges; the rest is what could be labelled. One labeler takes posts in
    random order; the other asks `labeling.queue` for each batch. After each batch a logistic regression on TF-IDF
    learns from what each has labelled.

    Parameters
    ----------
    rows : ``dataset``, ``id``, ``text``, ``label`` and ``group``
    seed : of the fold, of the random order and of the first labels
    most : labels up to which both go
    against : labels with which the one at random is judged once more

    Returns
    -------
    One row a way and batch: ``way``, ``labels``, ``macro_f1``, and ``rare``, the posts found so far with a label
    that is `rare`.
    """
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    pool, judged = next(folds.split(rows, rows["label"], rows["group"]))
    shuffled = rows.iloc[np.random.default_rng(seed).permutation(pool)].reset_index(drop=True)
    judging, sought = rows.iloc[judged], rare(rows, task)
    words = evaluation.words().fit(shuffled["text"])

    def judge(way: str, learn: pd.DataFrame) -> dict[str, object]:
        model = LogisticRegression(C=5, class_weight="balanced", tol=1e-3)
        model.fit(words.transform(learn["text"]), learn["label"])
        said = model.predict(words.transform(judging["text"]))
        return {"way": way, "labels": len(learn), "rare": int(learn["label"].isin(sought).sum()),
                "macro_f1": f1_score(judging["label"], said, average="macro")}

    counts = range(START, most + 1, step)
    answer = [judge(RANDOM, shuffled.head(count)) for count in sorted({*counts, against})]
    done = shuffled.head(START)
    answer.append(judge(QUEUE, done))
    for _ in counts[1:]:
        asked = labeling.queue(shuffled, done, task, step, mix)["id"]
        done = pd.concat([done, shuffled[shuffled["id"].isin(asked)]], ignore_index=True)
        answer.append(judge(QUEUE, done))
    return pd.DataFrame(answer)


def replays(rows: pd.DataFrame, task: Task, seeds: range, mix: str, step: int, most: int,
            against: int) -> pd.DataFrame:
    """`replay` for several seeds, with their ``seed``, two at a time; those that were kept are read."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:  # a fork would copy locks that threads hold
        found = pool.map(partial(_kept, rows, task, mix, step, most, against), seeds)
        return pd.concat(tqdm(found, total=len(seeds), desc="replay"), ignore_index=True)


def _kept(rows: pd.DataFrame, task: Task, mix: str, step: int, most: int, against: int, seed: int) -> pd.DataFrame:
    facts = [files.frame_sha256(rows[["id", "text", "label"]]), mix, step, most, against, seed,
             *(files.sha256(module.__file__) for module in (labeling, evaluation))]
    path = settings.data_path("studies", task.name, f"active-{files.text_sha256(str(facts))[:12]}.csv")
    if not path.exists():
        with files.whole(path) as temporary:
            replay(rows, task, seed, mix, step, most, against).to_csv(temporary, index=False)
    return pd.read_csv(path).assign(seed=seed)


def curves(runs: pd.DataFrame, measure: str) -> dict[str, pd.DataFrame]:
    """For each way the measure by labels (columns) and seed (rows)."""
    return {way: part.pivot(index="seed", columns="labels", values=measure).dropna(axis=1)
            for way, part in runs.groupby("way", sort=False)}


def needed(runs: pd.DataFrame) -> dict[str, object]:
    """Labels that the queue needs for the macro-F1 that random choice has in the end, and what it gains.

    Curves are means over seeds; between two batches they are straight. Intervals resample the seeds, which share
    their rows: they tell of the luck of the draw, not of other data.

    Returns
    -------
    dict of ``end``, the labels at the end of the queue's curve, and intervals: ``target``, the macro-F1 of random
    choice; ``labels``, where the queue's curve first reaches it, one batch beyond the end where it does not; ``gap``,
    the queue's macro-F1 at the end minus the target.
    """
    by_way = curves(runs, "macro_f1")
    queue = by_way[QUEUE]
    weights = resamples(np.arange(len(queue)), _DRAWS) / len(queue)
    target, means = weights @ by_way[RANDOM].iloc[:, -1].to_numpy(), weights @ queue.to_numpy()
    grid = queue.columns.to_numpy(float)
    labels = np.array([_first_at(mean, aim, grid) for mean, aim in zip(means, target, strict=True)])
    return {"end": int(grid[-1]), "target": interval(target), "labels": interval(labels),
            "gap": interval(means[:, -1] - target)}


def _first_at(mean: np.ndarray, aim: float, grid: np.ndarray) -> float:
    above = np.flatnonzero(mean >= aim)
    if not len(above):
        return float(grid[-1] + np.diff(grid, prepend=0)[-1])
    at = above[0]
    return float(grid[0] if at == 0 else np.interp(aim, mean[at - 1:at + 1], grid[at - 1:at + 1]))


def speed(runs: pd.DataFrame, labels: int) -> dict[str, float]:
    """How many times as many posts with a rare label the queue has found as random choice, after so many labels."""
    found = {way: table[labels].to_numpy(float) for way, table in curves(runs, "rare").items()}
    weights = resamples(np.arange(len(found[QUEUE])), _DRAWS)
    return interval((weights @ found[QUEUE]) / (weights @ found[RANDOM]))
