"""Evaluation side by side: this project, RecTools and RecBole.

    python benchmarks/evaluation.py [--dataset=ml-1m|beauty] [--rounds=5] [--users=3000]
        [--protocols=full,popularity_100] [--contestants=ours,rectools]

Test users a second of the same log and model size, on the same machine, in turn; a table for each
protocol. The models are not trained, which costs the same. A round is all test users, or the first
--users, with the metrics; RecBole's sampled protocols are too slow for that and have 16. README.md
says how the contestants' environments are set up.
"""

import argparse

import harness

CONTESTANTS = "ours,rectools,recbole"
PROTOCOLS = ("full", "popularity_100", "uniform_100")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    harness.add_arguments(parser, CONTESTANTS)
    parser.add_argument("--protocols", default="full,popularity_100", help=", ".join(PROTOCOLS))
    parser.add_argument("--batch-size", type=int, default=128, help="users at once")
    parser.add_argument("--users", type=int, default=0, help="only the log's first so many; 0: all")
    options = parser.parse_args()
    protocols = options.protocols.split(",")
    if unknown := set(protocols) - set(PROTOCOLS):
        parser.error(f"unknown protocol {min(unknown)}; there are {', '.join(PROTOCOLS)}")
    found = {protocol: measure(options, protocol) for protocol in protocols}
    text = "\n\n".join(f"{protocol}\n{table(one)}" for protocol, one in found.items())
    harness.finish(found, text, options.json)


def measure(options: argparse.Namespace, protocol: str) -> dict:
    settings = {"protocols": protocol, "batch_size": options.batch_size, "users": options.users}
    return harness.compare(options, "evaluate", settings)


def table(found: dict) -> str:
    """The harness's table, and below it what the contestants say of themselves."""
    notes = [
        f"{name}: {one['ready']['note']}"
        for name, one in found["contestants"].items()
        if "note" in one["ready"]
    ]
    return "\n".join([harness.table(found, "users"), *notes])


if __name__ == "__main__":
    main()
