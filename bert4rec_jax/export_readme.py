"""The README.md that lies in an exported folder."""

from typing import Any

USE = """import json, pathlib
import jax.export, numpy as np

folder = pathlib.Path("{folder}")
items = json.loads((folder / "items.json").read_text())
width = json.loads((folder / "manifest.json").read_text())["input"]["shape"][1]
scores_of = jax.export.deserialize((folder / "scores.jax_export").read_bytes()).call

id_of = {{item: i for i, item in enumerate(items, start=1)}}
histories = [items[:3], items[5:6]]  # raw ids, oldest first
known = [[id_of[item] for item in history if item in id_of] for history in histories]
ids = np.zeros((len(known), width), np.int32)
for row, seen in zip(ids, known):
    row[: len(seen[-width:])] = seen[-width:]
scores = np.array(scores_of(ids))  # [histories, items]
for row, seen in zip(scores, known):
    row[np.array(seen, int) - 1] = -np.inf  # all that a user has had
print(json.dumps([[items[i] for i in row] for row in (-scores).argsort(axis=1)[:, :10]]))
"""


_README = """# A {model} recommender of {items:,} items

`scores.jax_export` takes int32 [b, {width}], any number b of histories, and returns their scores,
float32 [b, {items}]. It is StableHLO in the envelope of `jax.export`, for {platforms},
made with jax {jax}, with the parameters inside.

* A row holds a user's items, oldest first, by id: item `items.json[i]` has id i + 1. Zeros are
  padding, wherever they stand. Of a longer history give the last {width}.
* Column i of the scores belongs to id i + 1. Higher is better; scores are logits, to be compared
  within a row only. Items of the history are scored like the others, retired ones have -inf. A row
  of zeros only is scored by popularity (training rows).
{query}* `items.parquet` has item, rows (in training) and retired; `manifest.json` is
  all this for programs.

```python
{use}```
"""

_QUERY = """* For a nearest-neighbour index: `embeddings.npy` [{items}, {hidden}] and `bias.npy`
  [{items}], a row an item in the order of the ids, and `query.jax_export`, which takes the same
  input and returns float32 [b, {hidden}]: a score is query . embedding + bias. Retired items and
  rows of zeros are the caller's to look after there.
"""


def text(manifest: dict[str, Any]) -> str:
    """What is in the folder that `manifest` describes, and how to use it."""
    sizes = {"items": manifest["items"], "width": manifest["input"]["shape"][1]}
    query = manifest["query"]
    return _README.format(
        **sizes,
        model=manifest["model"],
        jax=manifest["jax"],
        platforms=", ".join(manifest["platforms"]),
        query=_QUERY.format(**sizes, hidden=query["shape"][1]) if query else "",
        use=USE.format(folder="."),
    )
