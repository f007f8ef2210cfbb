"""One post by its id, from the store or else from X, within the budget."""

import threading

from hrf_utils import store_serving, x
from hrf_utils.serving import Refusal, log
from hrf_utils.settings import InputError
from hrf_utils.store import Store
from hrf_utils.store_serving import Found

_LOOKUPS = threading.Semaphore(4)
"""A post is asked of X by few at a time, since X may be slow."""


def post(store: Store, task: str, tweet_id: str) -> Found:
    """A post of the store with the label that a person gave it for a task, else of X.

    Raises
    ------
    Refusal
        404 if there is no public post with this id; 503 if X cannot be asked now, or not by this server.
    """
    found = store_serving.post(store, task, tweet_id)
    if found:
        return found
    unknown = Refusal(404, "there is no public post with this id: it never was, was deleted, or is protected")
    if store_serving.is_gone(store, tweet_id) or int(tweet_id) >= 2**63:
        raise unknown
    try:
        client = x.client()
    except InputError as error:
        raise Refusal(503, "the store does not have this post, and the server has no credentials for X "
                           "(BEARER_TOKEN)", 3600) from error
    if not _LOOKUPS.acquire(blocking=False):
        raise Refusal(503, "too many posts are asked of X at once", 5)
    try:
        given, _ = x.buy(client, store, [tweet_id], tries=1)
    except x.RefusedError as error:
        if error.code == 400:
            raise unknown from error
        log.error("X refuses a lookup (%d)", error.code)
        raise Refusal(503, "X refuses this server's credentials, or they have no credit left", 3600) from error
    except InputError as error:
        raise Refusal(503, "X does not answer now, or this server's budget for X is used up", 60) from error
    finally:
        _LOOKUPS.release()
    if given.empty:
        raise unknown
    return Found(given["text"].iloc[0], None)
