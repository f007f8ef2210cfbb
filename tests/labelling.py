"""A labeler at work, for the tests that kill one: a process that forks for each line it reads, and labels."""

import os
import random
import sys

import pandas as pd

from hrf_utils import tasks
from hrf_utils.session import Session
from hrf_utils.store import Store


def some_posts(n, dataset="d"):
    return pd.DataFrame({"dataset": dataset, "id": [f"{2**60 + k}" for k in range(n)],
                         "text": [f"post {k}" for k in range(n)]})


def busy(session, rng):
    """Label, skip and undo at random; post and label of each label once it is saved."""
    while True:
        shown, what = session.post, rng.random()
        if shown is None or what < 0.3:
            session.undo()
        elif what < 0.4:
            session.skip()
        else:
            session.label(number := rng.randrange(6))
            yield f"{shown.id} {number}"


if __name__ == "__main__":
    for seed in sys.stdin:
        child = os.fork()  # a process without threads may
        if child == 0:
            os.write(1, f"{os.getpid()}\n".encode())
            session = Session(Store.open(sys.argv[1]), tasks.load("force"), "d", some_posts(20)[["id"]], "ann", 0.0)
            for line in busy(session, random.Random(seed)):
                os.write(1, f"{line}\n".encode())
        os.waitpid(child, 0)
        os.write(1, b"ended\n")
