"""A prepared log: read by place, a few windows at a time, and whole for a sample of its users."""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from bert4rec_jax.data import manifest
from bert4rec_jax.data.identity import Identity
from bert4rec_jax.data.manifest import Manifest
from bert4rec_jax.data.sequences import Sequences, Whole
from bert4rec_jax.errors import UserError
from bert4rec_jax.vocab import Vocabulary


class PreparedLog:
    """A folder of `preparation.prepare`, the items memory-mapped.

    In memory: the catalogue, and 12 bytes a user.

    Attributes:
        manifest: of the folder.
        vocab: the catalogue.
        lengths: int32 [users].
        offsets: int64 [users + 1], as `Sequences.offsets`: places count over all shards.
    """

    def __init__(self, folder: str | Path, *, progress: Callable[[int], None] | None = None):
        """Opens and checks a folder.

        Args:
            progress: as for `manifest.verify`.

        Raises:
            UserError: the manifest is not whole, or a file is missing, corrupt or of another size;
                names it.
        """
        self._folder = Path(folder)
        self.manifest: Manifest = manifest.read(self._folder)
        manifest.verify(self._folder, self.manifest, progress=progress)
        self._catalogue = pl.read_parquet(self._folder / self.manifest.catalogue["file"])
        self.vocab = Vocabulary(tuple(self._catalogue["item"]))
        shards = self.manifest.shards
        self._items = [self._load(shard, "items", shard["actions"]) for shard in shards]
        lengths = [self._load(shard, "lengths", shard["users"]) for shard in shards]
        self.lengths = np.concatenate(lengths)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
        # Of the shards: where they begin, in users and in places.
        self._first_users = np.cumsum([0, *(shard["users"] for shard in shards)])
        self._begins = np.cumsum([0, *(shard["actions"] for shard in shards)])
        if self.vocab.digest != self.manifest.vocabulary or not np.array_equal(
            self.offsets[self._first_users], self._begins
        ):
            raise UserError(
                f"{self._folder / manifest.NAME}: does not fit its shards; run --mode=prepare again"
            )

    def _load(self, shard: dict, of: str, count: int) -> np.ndarray:
        path = self._folder / shard["files"][of]["file"]
        try:
            found = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: is no array ({error}); run --mode=prepare again") from error
        if found.shape != (count,) or found.dtype != np.int32:
            raise UserError(
                f"{path}: holds {found.dtype} {list(found.shape)} and not int32 [{count}], as the "
                "manifest says; run --mode=prepare again"
            )
        return found.view(np.ndarray)  # slices of a memmap itself cost a microsecond more each

    @property
    def identity(self) -> Identity:
        """Of leave-one-out."""
        return Identity(**self.manifest.identity)

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """int64 [n + 1], as `Sequences.counts`."""
        return np.concatenate([[0], self._catalogue["rows"].to_numpy()])

    def train_counts(self, *, train_on_valid: bool = False) -> np.ndarray:
        """int64 [n + 1], as `sequences.train_counts` of leave-one-out."""
        out = self._catalogue["test"].to_numpy()
        if not train_on_valid:
            out = out + self._catalogue["valid"].to_numpy()
        return self.counts - np.concatenate([[0], out])

    def read(self, starts: np.ndarray, lengths: np.ndarray, *, width: int) -> np.ndarray:
        """Rows of windows one after another, zeros behind: int32 [rows, width].

        Args:
            starts, lengths: int [rows, S], as `batching.Batches` gives them.
        """
        items = np.zeros((len(starts), width), np.int32)
        row, _ = used = np.nonzero(lengths)
        ends = np.cumsum(lengths, axis=1)[used]
        starts, lengths = starts[used], lengths[used]
        shards = np.searchsorted(self._begins, starts, side="right") - 1
        froms = starts - self._begins[shards]
        for i, shard, start, length, end in zip(
            *(x.tolist() for x in (row, shards, froms, lengths, ends)), strict=True
        ):
            items[i, end - length : end] = self._items[shard][start : start + length]
        return items

    def sample(self, users: np.ndarray, *, name: str, train_on_valid: bool = False) -> Sequences:
        """The histories of some users, in memory.

        Args:
            users: int64, places, rising.
            name: of the data set.
        """
        lengths = self.lengths[users].astype(np.int64)
        bounds = np.searchsorted(users, self._first_users)
        items, raw = [np.zeros(0, np.int32)], []
        for shard, (start, stop) in enumerate(itertools.pairwise(bounds)):
            own = users[start:stop]
            if not len(own):
                continue
            size, first = lengths[start:stop], self.offsets[own] - self._begins[shard]
            places = np.repeat(first - (np.cumsum(size) - size), size) + np.arange(size.sum())
            items.append(self._items[shard][places])
            file = self._folder / self.manifest.shards[shard]["files"]["users"]["file"]
            raw += pl.read_parquet(file)["user"].gather(own - self._first_users[shard]).to_list()
        return Sequences(
            name=name,
            items=np.concatenate(items),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            users=tuple(raw),
            vocab=self.vocab,
            whole=Whole(users, self.counts, self.train_counts(train_on_valid=train_on_valid)),
        )
