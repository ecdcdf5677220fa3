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

import numpy as np

from bert4rec_jax.data.sequences import Cases, Sequences

ROUNDS = 3  # one shows any reordering; the others tell apart users who are alike nearby


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
    digest = _digest(sequences)
    names = [name for name, (canonical, _) in CANONICAL.items() if canonical == digest]
    return Identity(digest, _test_digest(sequences, test), names[0] if names else None)


def verdict(name: str, identity: Identity) -> str:
    """One line for a run on a data set called `name`: is it the one of the published figures?"""
    if identity.canonical:
        return f"canonical {identity.canonical}"
    if name not in CANONICAL:
        return "no canonical version to compare with"
    if identity.test_digest == CANONICAL[name][1]:
        return f"not the canonical {name} (its test items, but other orders before them)"
    return f"not the canonical {name}"


def _digest(sequences: Sequences) -> str:
    position = np.arange(len(sequences.items)) - np.repeat(
        sequences.offsets[:-1], sequences.lengths
    )
    user, _ = _refine(sequences, _mix(position.astype(np.uint64)))
    return _sha256(user)


def _test_digest(sequences: Sequences, test: Cases) -> str:
    user, item = _refine(sequences, np.zeros(len(sequences.items), np.uint64))
    targets = sequences.items[sequences.offsets[test.users] + test.ends]
    return _sha256(_mix(user[test.users] + _mix(item[targets])))


def _refine(sequences: Sequences, edge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signatures, uint64, of the users [users] and the ids [n + 1]; `edge` uint64 [actions]."""
    by_item = np.argsort(sequences.items, kind="stable")
    present = np.flatnonzero(sequences.counts)  # an item kept from an older log may have no row
    item_starts = np.concatenate([[0], np.cumsum(sequences.counts[present])[:-1]])
    item = np.zeros(len(sequences.vocab) + 1, np.uint64)
    user = sequences.lengths.astype(np.uint64)
    for _ in range(ROUNDS):
        rows = _mix(np.repeat(_mix(user), sequences.lengths) + edge)
        item[present] = np.add.reduceat(rows[by_item], item_starts)
        rows = _mix(_mix(item)[sequences.items] + edge)
        user = np.add.reduceat(rows, sequences.offsets[:-1])
    return user, item


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): uint64 -> uint64, one to one."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _sha256(signatures: np.ndarray) -> str:
    return hashlib.sha256(np.sort(signatures).astype("<u8").tobytes()).hexdigest()
