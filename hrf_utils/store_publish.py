"""Approved incidents in a second database, so that those who show them never touch the store."""

from typing import NamedTuple

import pandas as pd
import sqlalchemy as sa

from hrf_utils import store_serving
from hrf_utils.schema import force_ranks
from hrf_utils.settings import InputError
from hrf_utils.store import Store, _insert, _parts, beginning


class Published(NamedTuple):
    """How many incidents the second database has, and gained, and lost; and the data set they come from."""

    published: int
    new: int
    withdrawn: int
    dataset: str


def publish(store: Store, url: str) -> Published:
    """Make the table ``force_ranks`` of the database at `url` hold exactly the approved incidents of the view.

    One transaction. Doing it again changes nothing; an incident that is approved no more is withdrawn.

    Raises
    ------
    InputError
        If there is no address, it is that of a store, or the database cannot take the incidents.
    """
    if not url:
        raise InputError("BACKEND_DB_URL names no database to publish to; write "
                         "`make publish BACKEND_DB_URL=postgresql://user:password@host/name`")
    rows, dataset = store.force_ranks(), store_serving.dataset(store, "force")
    rows, key = rows[rows["status"] == "approved"], force_ranks.c.incident_id
    rows = rows.assign(incident_date=pd.to_datetime(rows["incident_date"]).dt.date)
    with beginning(url, "BACKEND_DB_URL") as connection:
        if "force_ranks" in sa.inspect(connection).get_view_names():
            raise InputError("BACKEND_DB_URL names a store of this project; publish to a database of its own")
        try:
            force_ranks.create(connection, checkfirst=True)
            there, ids = set(connection.scalars(sa.select(key))), set(rows["incident_id"])
            gone = sorted(there - ids)
            for some in _parts(gone):
                connection.execute(sa.delete(force_ranks).where(key.in_(some)))
            _insert(connection, force_ranks, rows)
        except sa.exc.DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0]
            raise InputError(f"the database of BACKEND_DB_URL cannot take the incidents: {reason}; nothing was "
                             "changed") from error
    return Published(len(ids), len(ids - there), len(gone), dataset)
