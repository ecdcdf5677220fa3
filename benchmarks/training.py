"""Training side by side: this project, an optimised PyTorch program, RecTools and RecBole.

    python benchmarks/training.py [--dataset=ml-1m|beauty] [--rounds=5] [--contestants=ours,torch]

The same log, model size, masking rate and dropout, on the same machine, in turn. README.md says how
the contestants' environments are set up. A row is a window of a user's history.
"""

import argparse

import harness

CONTESTANTS = "ours,torch,rectools,recbole"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    harness.add_arguments(parser, CONTESTANTS)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=64)
    options = parser.parse_args()
    settings = {"batch_size": options.batch_size, "hidden": options.hidden}
    found = harness.compare(options, "train", settings)
    ours = found["contestants"].get("ours", {"ready": {}})  # knows the windows' lengths
    text = harness.table(found, "rows", ours["ready"].get("flops"))
    harness.finish(found, text, options.json)


if __name__ == "__main__":
    main()
