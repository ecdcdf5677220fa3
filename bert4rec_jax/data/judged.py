"""Who is judged, where a log has more users than can be ranked at every validation."""

import dataclasses

import numpy as np

from bert4rec_jax.data.sequences import Cases, Split
from bert4rec_jax.errors import UserError


def draw_users(users: int, most: int, *, seed: int) -> np.ndarray:
    """At most `most` of so many users, evenly drawn, rising: int64; 0: all."""
    if not 0 < most < users:
        return np.arange(users)
    return np.sort(np.random.default_rng(seed).choice(users, most, replace=False, shuffle=False))


def judged_by(split: Split, users: np.ndarray) -> Split:
    """The split with the cases of these users alone; all rows that trained still train."""

    def of(cases: Cases) -> Cases:
        kept = np.isin(cases.users, users)
        if not kept.any():
            raise UserError(f"none of the {len(users)} users drawn has a case: raise eval.users")
        return Cases(cases.users[kept], cases.ends[kept])

    return dataclasses.replace(split, valid=of(split.valid), test=of(split.test))
