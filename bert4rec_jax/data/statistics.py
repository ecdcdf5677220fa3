"""A data set in numbers, as in the paper's Table 1, from its users' lengths and items."""

import numpy as np


def count_repeats(items: np.ndarray, lengths: np.ndarray) -> int:
    """Rows whose user has the same item in an earlier row.

    Args:
        items: int [actions], ids, user after user.  lengths: int [users].
    """
    owner = np.repeat(np.arange(len(lengths)), lengths)
    pairs = np.sort(owner * (int(items.max()) + 1) + items)
    return int(np.count_nonzero(pairs[1:] == pairs[:-1]))


def summary(lengths: np.ndarray, *, items: int, repeats: int) -> dict[str, int | float]:
    """Of users with these lengths and a catalogue of so many items."""
    users, actions = len(lengths), int(lengths.sum(dtype=np.int64))
    return {
        "users": users,
        "items": items,
        "actions": actions,
        "length_mean": float(lengths.mean()),
        "length_min": int(lengths.min()),
        "length_median": float(np.median(lengths)),
        "length_max": int(lengths.max()),
        "density": actions / (users * items),
        "repeats": repeats,
    }
