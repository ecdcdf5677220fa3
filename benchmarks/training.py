"""Training side by side: this project, an optimised PyTorch program, RecTools and RecBole.

    python benchmarks/training.py [--dataset=ml-1m|beauty] [--rounds=5] [--contestants=ours,torch]

The same log, model size, masking rate and dropout, on the same machine, in turn; README.md says how
the contestants' environments are set up. A row is a window of a user's history; "of peak" are the
model's floating-point operations a second over those of a matrix product (harness.training_flops).
"""

import argparse
import sys

import harness

sys.path.insert(0, str(harness.ROOT))

from bert4rec_jax import masking
from bert4rec_jax.data import batching, interactions, sequences

# PyTorch in two ways: fused optimiser and gathered masks only, and with more of its levers on.
CONTESTANTS = "ours,torch,torch:keep+plain+cheap+packed,rectools,recbole"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    harness.add_arguments(parser, CONTESTANTS)
    parser.add_argument("--batch-size", type=int, default=128, help="windows an update")
    parser.add_argument("--hidden", type=int, default=64, help="d")
    parser.add_argument("--layers", type=int, default=2, help="L")
    options = parser.parse_args()
    settings = {key: getattr(options, key) for key in ("batch_size", "hidden", "layers")}
    found = harness.compare(options, "train", settings)
    harness.finish(found, harness.table(found, "rows", mean_flops(options, found)), options.json)


def mean_flops(options: argparse.Namespace, found: dict) -> float:
    """Of the update of one window of this data set, on average."""
    settings = found["settings"]
    path = harness.data_file(options)
    frame = interactions.read(path, user_column="", item_column="", time_column="")
    log = sequences.build(
        frame,
        name=settings["dataset"],
        min_item_count=settings["min_item_count"],
        min_user_count=settings["min_user_count"],
    )
    _, lengths = batching.sliding_windows(
        log.offsets,
        sequences.leave_one_out(log).train_ends,
        max_length=settings["max_length"],
        stride=settings["stride"],
    )
    counts = masking.mask_counts(
        settings["max_length"], proportion=settings["proportion"], budget=settings["budget"]
    )
    return harness.training_flops(
        lengths.tolist(),
        counts[lengths].tolist(),
        hidden=settings["hidden"],
        layers=settings["layers"],
        items=len(log.vocab),
    )


if __name__ == "__main__":
    main()
