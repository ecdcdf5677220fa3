"""From a frame to recommendations: a few seconds on a small generated log.

python examples/quickstart.py
"""

# %% A frame of interactions, a row each. Here 200 people walk round a ring of 60 films.
import datetime
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # where it is not installed

import polars as pl

from bert4rec_jax import Recommender

rows = [
    (person, f"film {(7 * person + day) % 60}", datetime.date(2024, 1, 1 + day))
    for person in range(200)
    for day in range(10 + person % 5)
]
frame = pl.DataFrame(rows, schema=["person", "film", "seen_on"], orient="row")  # or pandas

# %% Train. Settings are sections of configs/default.py; without any it would be 20,000 steps.
workdir = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
recommender = Recommender.fit(
    frame,
    user="person",
    item="film",
    time="seen_on",
    workdir=workdir,
    model={"max_length": 10, "hidden": 16, "layers": 1, "neighbours": 2},
    masking={"last_only_rate": 0.5},
    optimizer={"learning_rate": 1e-2},
    train={"steps": 150, "batch_size": 64, "eval_every": 150},
    eval={"protocols": ("full",)},
)

# %% Recommend, to people who need not be in the frame.
history = [f"film {day}" for day in range(1, 10)]
for item, score in recommender.recommend([history], k=3)[0]:
    print(f"{item}  {score:.2f}")

# %% The work directory serves later too, in Python and by the command.
assert Recommender.load(workdir).vocab == recommender.vocab
