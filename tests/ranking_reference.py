"""The evaluation once more, slowly: plain Python loops over one user at a time.

Written from the description of the original's evaluation (run.py, lines 123-229), not from the
package. Raw ids are "u0", "u1", ... and "i1", "i2", ...
"""

import fractions
import itertools
import math

import numpy as np

from bert4rec_jax.data.sequences import Cases, Sequences
from bert4rec_jax.vocab import Vocabulary


def small_log(histories, items):
    """A log of these histories (lists of ids 1..items)."""
    return Sequences(
        name="small",
        items=np.array([i for history in histories for i in history], np.int32),
        offsets=np.cumsum([0] + [len(history) for history in histories]).astype(np.int64),
        users=tuple(f"u{u}" for u in range(len(histories))),
        vocab=Vocabulary(tuple(f"i{i}" for i in range(1, items + 1))),
    )


def random_log(rng, *, users, items, longest):
    """Histories of 2 to `longest` items; an item may come again."""
    lengths = rng.integers(2, longest + 1, size=users)
    return small_log([rng.integers(1, items + 1, size=n).tolist() for n in lengths], items)


def last_items(sequences):
    """The cases that ask for every user's last item."""
    lengths = np.diff(sequences.offsets)
    return Cases(np.arange(len(lengths), dtype=np.int32), lengths - 1)


def sampling_law(counts, excluded, count):
    """Every ordered outcome of successive sampling without replacement -> its exact probability.

    counts[i - 1] is the weight of item i.
    """
    eligible = [i for i in range(1, len(counts) + 1) if i not in excluded and counts[i - 1]]
    law = {}
    for outcome in itertools.permutations(eligible, count):
        left = sum(counts[i - 1] for i in eligible)
        probability = fractions.Fraction(1)
        for i in outcome:
            probability *= fractions.Fraction(counts[i - 1], left)
            left -= counts[i - 1]
        law[outcome] = probability
    return law


def model_input(history, length, mask_id):
    """What the model is shown, and how long it is; mask_id None for a model without MASK."""
    shown = list(history)
    if mask_id is None:
        shown = shown[-length:]
    else:
        shown = [*shown[len(shown) - min(len(shown), length - 1) :], mask_id]
    return shown + [0] * (length - len(shown)), len(shown)


def candidates(protocol, history, target, items, negatives):
    """The items that compete with the target."""
    if protocol == "full":
        return [i for i in range(1, items + 1) if i != target and i not in history]
    if protocol == "full_with_history":
        return [i for i in range(1, items + 1) if i != target]
    return list(negatives)


def rank(scores, target, others):
    """How many others score at least as high; scores[i - 1] is that of item i."""
    better = 0
    for i in others:
        if scores[i - 1] >= scores[target - 1]:
            better += 1
    return better


def metrics(ranks, ks):
    result = {}
    for k in ks:
        result[f"HR@{k}"] = sum(1 for r in ranks if r < k) / len(ranks)
    for k in ks:
        if k > 1:
            result[f"NDCG@{k}"] = sum(1 / math.log2(r + 2) for r in ranks if r < k) / len(ranks)
    result["MRR"] = sum(1 / (r + 1) for r in ranks) / len(ranks)
    return result
