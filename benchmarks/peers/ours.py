"""This project as a contestant: the step and the evaluator that main.py runs.

Variants of training, joined by "+": `bf16` computes in bfloat16, `unpacked` gives every window a
row of its own, `noattn` leaves the attention probabilities without dropout.
"""

import dataclasses
import pathlib
import sys
import tempfile
import time

import contestant

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from bert4rec_jax import allocator
from bert4rec_jax.data.sequences import Cases

CONFIGS = {"ml-1m": "ml1m", "beauty": "beauty"}
LEVERS = {"bf16", "unpacked", "noattn"}


def experiment_of(options):
    """The Experiment of the data set's config with the options' values."""
    import importlib

    from bert4rec_jax.experiment import Experiment

    levers = set(options.variant.split("+")) - {""}
    if unknown := levers - LEVERS:
        sys.exit(f"ours has no variant {min(unknown)}; there are {', '.join(sorted(LEVERS))}")
    config = importlib.import_module(f"configs.{CONFIGS[options.dataset]}").get_config("cloze")
    config.seed = options.seed
    config.data.path = options.data
    config.data.min_item_count = options.min_item_count
    config.data.min_user_count = options.min_user_count
    config.model.max_length = options.max_length
    config.model.hidden = options.hidden
    config.model.layers = options.layers
    config.model.heads = options.heads
    config.model.dropout = options.dropout
    config.model.attention_dropout = 0.0 if "noattn" in levers else options.attention_dropout
    config.model.dtype = "bfloat16" if "bf16" in levers else "float32"
    config.masking.proportion = options.proportion
    config.masking.budget = options.budget
    config.masking.stride = options.stride
    config.masking.last_only_rate = 0.0  # all contestants mask the same share of every window
    config.train.batch_size = options.batch_size
    config.train.packed = "unpacked" not in levers
    config.eval.protocols = tuple(options.protocols.split(","))
    config.eval.negatives = options.negatives
    config.train.select_by = f"{config.eval.protocols[0]}/NDCG@10"
    return Experiment(config)


def prepare(options):
    allocator.keep_freed_memory()
    import jax

    experiment = experiment_of(options)
    versions = {"jax": jax.__version__, "device": jax.devices()[0].platform}
    if options.task == "evaluate":
        return {"versions": versions}, _evaluation(experiment, options.users)
    if options.task == "recommend":
        return {"versions": versions}, _recommendation(experiment, options.histories)
    return {"versions": versions, "fill": experiment.batches.fill}, _training(experiment, options)


def _training(experiment, options):
    import jax

    run_step = experiment.run_step()
    at, state = 0, experiment.initial_state()

    def run(steps):
        nonlocal at, state
        started, sums = time.perf_counter(), []
        for _ in range(steps):
            state, of_step = run_step(state, *experiment.batch(at))
            sums.append(of_step)
            at += 1
        jax.block_until_ready((state, sums))
        return time.perf_counter() - started, sums

    steps = contestant.steps_per_round(lambda: run(1), options.seconds_per_round)

    def run_round():
        first = at
        seconds, sums = run(steps)
        total = {key: sum(float(s[key]) for s in sums) for key in ("loss", "weight", "examples")}
        items = sum(int(experiment.batches(first + i)[1].sum()) for i in range(steps))
        return {
            "seconds": seconds,
            "rows": total["examples"],
            "items": items,
            "steps": steps,
            "loss": total["loss"] / total["weight"],
        }

    return run_round


def _evaluation(experiment, users):
    """All test users, or the first so many; the model is untrained, which costs the same."""
    params, test = experiment.initial_state().params, experiment.split.test
    if users:
        test = Cases(test.users[:users], test.ends[:users])
        experiment.split = dataclasses.replace(experiment.split, test=test)
    users = len(test.users)
    experiment.judge._ranks(params, "test")  # compiles, and draws the negatives

    def run_round():
        started = time.perf_counter()
        experiment.judge._metrics(experiment.judge._ranks(params, "test"))
        return {"seconds": time.perf_counter() - started, "users": users}

    return run_round


def _recommendation(experiment, histories):
    """From a file to a file; the model is untrained, which costs the same."""
    from bert4rec_jax import recommending
    from bert4rec_jax.recommender import Recommender

    recommender = Recommender(
        experiment._scorer(),
        experiment.initial_state().params,
        experiment.log.vocab,
        experiment.log.counts,
        max_length=experiment._input_length,
    )

    def run_round():
        started = time.perf_counter()
        users = recommending.read_histories(histories, recommender.vocab)
        with tempfile.TemporaryDirectory() as folder:
            output = pathlib.Path(folder) / "recommendations.parquet"
            recommending.write_recommendations(recommender, users, output, k=10)
        return {"seconds": time.perf_counter() - started, "users": len(users.users)}

    return run_round


if __name__ == "__main__":
    contestant.main(prepare)
