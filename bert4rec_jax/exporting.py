"""--mode=export: a trained model as a folder that needs neither this package nor its log."""

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from bert4rec_jax import export_readme, loading
from bert4rec_jax.console import say
from bert4rec_jax.data.catalogue import write_catalogue
from bert4rec_jax.errors import UserError
from bert4rec_jax.files import appearing
from bert4rec_jax.loading import Trained
from bert4rec_jax.recommender import Recommender, as_sequences
from bert4rec_jax.vocab import PAD

PLATFORMS = ("cpu", "cuda", "tpu")
CHECKED = 8  # histories on which what was written must agree with the model
TOLERANCE = 1e-4  # of a logit: float32 sums in another order


def export(workdir: pathlib.Path, output: pathlib.Path) -> None:
    """Write the best checkpoint of a run to the folder `output`, and check what was written.

    Args:
        output: must not exist yet, or be empty; it appears whole or not at all.

    Raises:
        UserError: the run has nothing to export, `output` is taken, or what was written does not
            give the model's scores.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"{output} exists already: choose another --output, or remove it")
    trained = loading.load(workdir)
    ids, expected = _asked_live(trained)
    scores = scores_function(trained)
    with _said_if_not_written(output), appearing(output) as folder:
        written = _write_program(scores, trained, folder / "scores.jax_export")
        found = {"scores.jax_export": np.asarray(written(ids))}
        if trained.scorer.item_table:
            table, bias = _table(trained)
            np.save(folder / "embeddings.npy", table)
            np.save(folder / "bias.npy", bias)
            written = _write_program(query_function(trained), trained, folder / "query.jax_export")
            asked = (ids > PAD).any(axis=1)
            by_query = np.asarray(written(ids)) @ table.T + bias
            by_query[:, trained.retired] = -np.inf
            found["query.jax_export"] = np.where(asked[:, None], by_query, expected)
        for name, of_file in found.items():
            _check_equal(of_file, expected, name)
        (folder / "items.json").write_text(json.dumps(trained.vocab.items), encoding="utf-8")
        write_catalogue(
            folder / "items.parquet", trained.vocab, trained.counts, retired=trained.retired
        )
        manifest = _manifest(trained, folder)
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        (folder / "README.md").write_text(export_readme.text(manifest), encoding="utf-8")
    say(
        f"{output}: {trained.config['model']['name']}, {len(trained.vocab):,} items; "
        f"{', '.join(found)} agree with the model on {len(ids)} histories"
    )


def scores_function(trained: Trained) -> Callable[[jax.Array], jax.Array]:
    """ids int32 [b, N] -> scores float32 [b, n], pure, with the parameters inside.

    As the program answers live: a history without a known item is scored by training rows, and a
    retired item by -inf. Items of the history are scored like the others.
    """
    scorer, params = trained.scorer, trained.params
    rows = jnp.asarray(trained.counts[1:], jnp.float32)
    retired = jnp.asarray(trained.retired)

    def one(ids):
        items, length, known = _as_input(ids, trained)
        if scorer.scores:
            found = scorer.scores(params, items[None], length[None])[0]
        else:
            table, bias = scorer.item_table(params)
            query = scorer.encode(params, items[None], length[None])
            found = (jnp.matmul(query, table.T, precision="highest") + bias[None, :])[0]
        return jnp.where(retired, -jnp.inf, jnp.where(known > 0, found, rows)).astype(jnp.float32)

    return jax.vmap(one)


def query_function(trained: Trained) -> Callable[[jax.Array], jax.Array]:
    """ids int32 [b, N] -> query float32 [b, d]: a score is query . embedding + bias."""

    def one(ids):
        items, length, _ = _as_input(ids, trained)
        return trained.scorer.encode(trained.params, items[None], length[None])[0]

    return jax.vmap(one)


def _table(trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """(embeddings [n, d], bias [n]), float32."""
    table, bias = trained.scorer.item_table(trained.params)
    return np.asarray(table, np.float32), np.asarray(bias, np.float32)


def _width(trained: Trained) -> int:
    """N, the width of the input of what is exported."""
    return trained.config["model"]["max_length"]


def _as_input(ids: jax.Array, trained: Trained) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One caller's ids int32 [N] -> (the model's input, its length, how many items are known).

    What is not an item's id is padding, wherever it stands.
    """
    n, append_mask = len(trained.vocab), trained.scorer.append_mask
    is_item = (ids >= 1) & (ids <= n)
    known = jnp.minimum(is_item.sum(), trained.max_length - append_mask)
    place = jnp.cumsum(is_item) - 1 - (is_item.sum() - known)  # from the oldest that is kept
    place = jnp.where(is_item & (place >= 0), place, trained.max_length)
    # By comparison, not by scatter or sort: one small product that every runtime has.
    moved = place[None, :] == jnp.arange(trained.max_length)[:, None]  # [input, N]
    items = jnp.where(moved, ids[None, :], PAD).sum(axis=1, dtype=jnp.int32)
    if append_mask:
        is_mask = jnp.arange(trained.max_length) == known
        items = jnp.where(is_mask, trained.vocab.mask_id, items)
    length = jnp.maximum(known + append_mask, 1)
    return items.astype(jnp.int32), length.astype(jnp.int32), known


def _write_program(function: Callable, trained: Trained, path: pathlib.Path) -> Callable:
    """Serialises for any number of histories and all PLATFORMS; returns it as read back."""
    (batch,) = jax_export.symbolic_shape("b")
    ids = jax.ShapeDtypeStruct((batch, _width(trained)), jnp.int32)
    exported = jax_export.export(jax.jit(function), platforms=PLATFORMS)(ids)
    path.write_bytes(exported.serialize())
    return jax_export.deserialize(path.read_bytes()).call


def _asked_live(trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """(ids int32 [CHECKED, N], the scores float32 [CHECKED, n] that the program gives them).

    Histories of any length, one empty and one full, padded on the left and on the right in turn.
    """
    rng, n, width = np.random.default_rng(0), len(trained.vocab), _width(trained)
    lengths = [0, width, *rng.integers(1, width + 1, CHECKED - 2)]
    histories = [rng.integers(1, n + 1, length).astype(np.int32) for length in lengths]
    ids = np.zeros((CHECKED, width), np.int32)
    for place, history in enumerate(histories):
        start = 0 if place % 2 else width - len(history)
        ids[place, start : start + len(history)] = history
    asked = as_sequences(histories, trained.vocab)
    items, scores, _ = Recommender.of(trained).recommend_encoded(asked, n, with_seen=True)
    expected = np.full((CHECKED, n + 1), -np.inf, np.float32)
    np.put_along_axis(expected, items, np.where(items == PAD, -np.inf, scores), axis=1)
    return ids, expected[:, 1:]


def _check_equal(found: np.ndarray, expected: np.ndarray, name: str) -> None:
    if not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
        gap = np.abs(np.where(np.isfinite(expected), found - expected, 0.0)).max()
        raise UserError(f"{name} differs from the model by up to {gap:.2g}: nothing was exported")


def _manifest(trained: Trained, folder: pathlib.Path) -> dict[str, Any]:
    n, width = len(trained.vocab), _width(trained)
    hidden = _table(trained)[0].shape[1] if trained.scorer.item_table else None
    return {
        "model": trained.config["model"]["name"],
        "items": n,
        "input": {"dtype": "int32", "shape": ["b", width], "padding": PAD},
        "scores": {"dtype": "float32", "shape": ["b", n]},
        "query": hidden and {"dtype": "float32", "shape": ["b", hidden]},
        "embeddings": hidden and {"dtype": "float32", "shape": [n, hidden]},
        "files": sorted(path.name for path in folder.iterdir()),
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
        "vocabulary": trained.vocab.digest,
        "retired": int(trained.retired.sum()),
    }


@contextlib.contextmanager
def _said_if_not_written(output: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{output}: cannot be written ({reason}); choose another --output"
        ) from error
