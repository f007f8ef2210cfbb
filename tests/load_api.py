"""How many texts a second a server classifies for many clients, and the one-at-a-time loop of the documents.

``python tests/load_api.py URL [clients] [seconds]``, on the machine and below the HRF_HOME of the server.
"""

import asyncio
import sys
import time

import httpx
import numpy as np

from hrf_utils import settings, tasks
from hrf_utils.classifier import Classifier, run_folder
from hrf_utils.files import read_table


def texts():
    """Posts as they come."""
    return read_table(tasks.load(settings.get("TASK")).starter)["text"].tolist()


def one_at_a_time(seconds):
    """Texts a second of a loop that classifies one text after another."""
    model, done, began = Classifier.load(run_folder(settings.get("TASK"))), 0, time.monotonic()
    posts = texts()
    while time.monotonic() - began < seconds:
        model.predict([posts[done % len(posts)]])
        done += 1
    return done / (time.monotonic() - began)


async def together(url, clients, seconds):
    """What many clients get that each ask for one text after another: answers a second, milliseconds, statuses."""
    posts, took, statuses, end = texts(), [], [], time.monotonic() + seconds

    async def ask(number, client):
        while time.monotonic() < end:
            began = time.monotonic()
            number = (number * 31 + 7) % len(posts)
            answer = await client.post("/predict", json={"texts": [posts[number]]})
            took.append((time.monotonic() - began) * 1000)
            statuses.append(answer.status_code)

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        began = time.monotonic()
        await asyncio.gather(*(ask(number, client) for number in range(clients)))
    return len(took) / (time.monotonic() - began), np.percentile(took, [50, 99]), set(statuses)


if __name__ == "__main__":
    clients, seconds = (int(word) for word in (*sys.argv[2:], 50, 60)[:2])
    loop = one_at_a_time(min(seconds, 20))
    rate, (median, slow), statuses = asyncio.run(together(sys.argv[1], clients, seconds))
    print(f"{clients} clients for {seconds} s: {rate:.0f} texts a second, p50 {median:.0f} ms, p99 {slow:.0f} ms, "
          f"statuses {statuses}; one at a time: {loop:.0f}; {rate / loop:.1f} times as many")
