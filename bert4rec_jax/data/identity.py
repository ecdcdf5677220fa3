"""Is this the data that the published figures are on?

The same log prepared with another order among equal times has the same users, items and counts,
and yet a quarter of ml-1m's test items differ. Two digests tell, and neither depends on how users
and items are named or in which order the users come, since copies of one data set differ in that.

How: users and items get signatures, refined in rounds. An item's is the sum, over its rows, of a
hash of the row's user and position; a user's is the sum, over their rows, of a hash of item and
position; sums do not depend on the order of the summands. It starts from each user's length, and
after the rounds SHA-256 of the users' sorted signatures is the digest. (Colour refinement, after
Weisfeiler and Leman, 1968, on the graph of users and items whose edges carry positions.)

What equal digests prove: the same sequences up to a renaming of users and items (short of
a constructed or 1-in-2^64 collision, and of graphs that colour refinement cannot tell apart, which
real logs are not). What they do not prove: that ids mean the same things, which is what
`Vocabulary.digest` is for, or that the times are the same. A change that amounts to a renaming
(in one user, two items swapped that nobody else has) is no change.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from bert4rec_jax.data.sequences import Cases, Sequences

ROUNDS = 3  # one shows any reordering; the others tell apart users who are alike nearby
READINGS = 4 * ROUNDS  # of the log, for both digests
ROWS_AT_ONCE = 1 << 16  # so that what is computed of them stays in the cache


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a data set is recognised by.

    Attributes:
        digest: SHA-256 in hex of the sequences, up to renaming.
        test_digest: the same of the test items and what has been seen by whom, not in which order.
        canonical: the published data set whose `digest` this is, or None.
    """

    digest: str
    test_digest: str
    canonical: str | None


# Digest and test digest (leave-one-out) of the files of github.com/FeiSun/BERT4Rec at 615eaf20:
# data/ml-1m.txt, git blob 9ab8e3ed, and data/beauty.txt, git blob 16718a33.
CANONICAL = {
    "ml-1m": (
        "d34dc6e5fbff956e42b1f01dee5f8add3e5c748e6b8fcc14115feef7283c5614",
        "4469c6b279e095d6edc2cf6d1ce1fb13c6c2e52531b1a400fe9a560ba390ddb2",
    ),
    "beauty": (
        "265df934c285108fbcfb871e1067f663e521adea90323226f362f536d0d86e6b",
        "9ce091ce9a1dece36102b2b508851f9be225c94d9a3c37aeaa1a86ee0b1290e6",
    ),
}


def identify(sequences: Sequences, test: Cases) -> Identity:
    """The identity of a data set and of what it is tested on; under 1 s for a million rows."""
    targets = sequences.targets(test)
    parts = [(sequences.items, sequences.lengths)]
    return identify_parts(parts, len(sequences.vocab), test.users, targets)


def identify_parts(
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    catalogue: int,
    tested: np.ndarray,
    targets: np.ndarray,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> Identity:
    """The same of a log in parts, in memory for its users and items alone.

    Args:
        parts: (items int [actions], lengths int [users], none 0) of the users one after another;
            read `READINGS` times.
        catalogue: n, the number of items.
        tested: int [cases], users.  targets: int [cases], their test items.
        progress: called with the number of rows each time that some were read.
    """

    def read():
        """(users, items, lengths, positions) of some users at a time."""
        first = 0
        for items, lengths in parts:
            ends = np.cumsum(lengths, dtype=np.int64)
            stop = begin = 0
            while stop < len(lengths):
                start, stop = stop, max(stop + 1, np.searchsorted(ends, begin + ROWS_AT_ONCE))
                some = items[begin : ends[stop - 1]].astype(np.intp)
                places = np.arange(begin, begin + len(some))
                begins = np.concatenate([[begin], ends[start : stop - 1]])
                positions = places - np.repeat(begins, lengths[start:stop])
                yield slice(first + start, first + stop), some, lengths[start:stop], positions
                begin = int(ends[stop - 1])
                progress(len(some))
            first += len(lengths)

    lengths = np.concatenate([lengths for _, lengths in parts])
    user, _ = _refine(read, lengths, catalogue, ordered=True)
    digest = _sha256(user)
    user, item = _refine(read, lengths, catalogue, ordered=False)
    test_digest = _sha256(_mix(user[tested] + _mix(item[targets])))
    names = [name for name, (canonical, _) in CANONICAL.items() if canonical == digest]
    return Identity(digest, test_digest, names[0] if names else None)


def verdict(name: str, identity: Identity) -> str:
    """One line for a run on a data set called `name`: is it the one of the published figures?"""
    if identity.canonical:
        return f"canonical {identity.canonical}"
    if name not in CANONICAL:
        return "no canonical version to compare with"
    if identity.test_digest == CANONICAL[name][1]:
        return f"not the canonical {name} (its test items, but other orders before them)"
    return f"not the canonical {name}"


def _refine(
    read: Callable, lengths: np.ndarray, catalogue: int, *, ordered: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Signatures, uint64, of the users [users] and the ids [n + 1]."""
    user = lengths.astype(np.uint64)
    edge = np.zeros(lengths.max(), np.uint64)  # by position
    if ordered:
        edge = _mix(np.arange(len(edge), dtype=np.uint64))
    for _ in range(ROUNDS):
        item = np.zeros(catalogue + 1, np.uint64)
        for users, items, counts, positions in read():
            np.add.at(item, items, _mix(np.repeat(_mix(user[users]), counts) + edge[positions]))
        mixed = _mix(item)
        for users, items, counts, positions in read():
            rows = _mix(mixed[items] + edge[positions])
            user[users] = np.add.reduceat(rows, np.cumsum(counts) - counts)
    return user, item


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): uint64 -> uint64, one to one."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _sha256(signatures: np.ndarray) -> str:
    return hashlib.sha256(np.sort(signatures).astype("<u8").tobytes()).hexdigest()
