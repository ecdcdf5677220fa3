"""A finished run under the easier popularity test of other programs, for figures beside theirs.

    python scripts/easier_test.py WORKDIR [--seed=0]

Petrov and Macdonald's framework, in which RecTools' figures were measured too, draws 100 negatives
by popularity without looking at the history, and then bars the items seen from winning: fewer than
100 can. Under `popularity_100` all can. The model is the checkpoint that validation chose, the
input the same. Prints both, and writes the easier one to WORKDIR/easier_test.json, where
`scripts/results.py keep` finds it.
"""

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np

from bert4rec_jax import allocator, cli, loading, modes
from bert4rec_jax.data.sequences import Cases, Sequences
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import report
from bert4rec_jax.evaluation.inputs import SeenItems
from bert4rec_jax.evaluation.negatives import COUNT, draw_negatives
from bert4rec_jax.evaluation.ranking import Ranker
from bert4rec_jax.files import replacing
from bert4rec_jax.metrics import metrics_from_ranks
from configs import default

HARDER = "popularity_100"
SHOWN = {"HR@10", "NDCG@10", "MRR"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0, help="of the negatives")
    options = parser.parse_args()
    allocator.keep_freed_memory()
    harder = report.read_results(options.workdir)["test"].get(HARDER, {})
    if not harder.keys() >= SHOWN:
        raise UserError(
            f"{options.workdir}: results.json has no {HARDER} with cut-off 10; evaluate the run "
            "with it"
        )
    experiment = modes.experiment_of(default.get_config(), {}, options.workdir)
    modes.refuse_other_data(experiment.identity.digest, options.workdir)
    ranks, barred = easier_ranks(
        loading.load(options.workdir), experiment.log, experiment.split.test, seed=options.seed
    )
    ks = (1, 5, 10)
    found = metrics_from_ranks(ranks, ks) | {"barred": float(barred.mean()), "seed": options.seed}
    with replacing(options.workdir / "easier_test.json") as unfinished:
        unfinished.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"of {COUNT} negatives {found['barred']:.1f} were seen before and cannot win")
    for name, metrics in ((HARDER, harder), ("easier", found)):
        print(f"{name:16}", *(f"{metric} {metrics[metric]:.4f}" for metric in sorted(SHOWN)))


def easier_ranks(
    trained: loading.Trained, log: Sequences, cases: Cases, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of the true items, 0 = best, and how many of each case's negatives cannot win.

    Returns:
        int32 [cases] each.
    """
    targets = log.targets(cases)
    drawn = draw_negatives(log, OnlyTargets(log, cases), cases, protocol=HARDER, seed=seed)
    barred = np.zeros(drawn.shape, bool)
    for case, (user, end) in enumerate(zip(cases.users, cases.ends, strict=True)):
        barred[case] = np.isin(drawn[case], log.history(user)[:end])
    # The true item in place of one that is barred: it scores as high as itself and adds one to the
    # rank, which is then taken off. With `full` both scores are the same number of one product.
    negatives = np.where(barred, targets[:, None], drawn)
    ranker = Ranker(
        trained.scorer,
        log,
        SeenItems(log),
        protocols=(HARDER, "full"),
        max_length=trained.max_length,
    )
    ranks = ranker.ranks(trained.params, cases, {HARDER: negatives})[HARDER]
    return ranks - barred.sum(axis=1), barred.sum(axis=1)


class OnlyTargets:
    """Stands for `SeenItems` where nothing but the true item is left out of the draw."""

    def __init__(self, log: Sequences, cases: Cases):
        self._targets = np.zeros(len(log.users), np.int32)
        self._targets[cases.users] = log.targets(cases)

    def ever(self, users: np.ndarray) -> np.ndarray:
        """int32 ids [B, 1]."""
        return self._targets[users][:, None]


if __name__ == "__main__":
    sys.exit(cli.reporting(main))
