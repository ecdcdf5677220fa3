"""Whether speed costs accuracy: validation by step, of the program as it is and of a plain one.

    python benchmarks/learning_curves.py [--steps=1500] [--every=250] [--seeds=3] [--json=FILE]

"fast" is the program: packed rows, a last block that computes only what is asked, dropout from a
hash, cross-entropy in blocks with a gradient of its own. "plain" gives every window a row, computes
all positions, draws dropout from JAX's own generator, and has Optax's cross-entropy of all logits.
Both train the paper's model on the generated log (configs/synthetic.py:cloze) from the same seeds;
the table has the mean and the standard deviation over seeds of full NDCG@10.
"""

import argparse
import statistics
import sys

import harness

sys.path.insert(0, str(harness.ROOT))

import jax
import jax.numpy as jnp
import optax

from bert4rec_jax import encoder, losses
from bert4rec_jax.experiment import Experiment
from bert4rec_jax.training import step
from configs import synthetic


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--every", type=int, default=250, help="steps between validations")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", help="a file for everything that was measured")
    options = parser.parse_args()
    found = {"machine": harness.machine(), "curves": {}}
    for name, packed in (("fast", True), ("plain", False)):
        found["curves"][name] = [train(packed, seed, options) for seed in range(options.seeds)]
        # From here on plain: the modules look these up when the next step is traced.
        encoder.dropout, losses.LOSSES["softmax"] = plain_dropout, plain_cross_entropy
        step.FEW = 0.0
    at = list(found["curves"]["fast"][0])
    lines = ["| steps | " + " | ".join(map(str, at)) + " |", "|---|" + "---:|" * len(at)]
    for name, curves in found["curves"].items():
        cells = [spread([curve[steps] for curve in curves]) for steps in at]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    harness.finish(found, "\n".join(lines), options.json)


def train(packed: bool, seed: int, options: argparse.Namespace) -> dict[int, float]:
    """Step -> validation full NDCG@10."""
    config = synthetic.get_config("cloze")
    config.seed, config.train.steps, config.train.packed = seed, options.steps, packed
    config.eval.protocols = ("full",)
    config.model.dropout = config.model.attention_dropout = 0.1
    experiment = Experiment(config)
    run_step, state, curve = experiment.run_step(), experiment.initial_state(), {}
    for done in range(1, options.steps + 1):
        state, _ = jax.block_until_ready(run_step(state, *experiment.batch(done - 1)))
        if done % options.every == 0:
            curve[done] = experiment.judge.validate(state.params)["full/NDCG@10"]
            print(f"packed {packed} seed {seed} step {done}: {curve[done]:.4f}")
    return curve


def plain_dropout(key, x, rate):
    if rate == 0.0:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)


def plain_cross_entropy(key, hidden, table, bias, labels, weights):
    logits = hidden @ table.T + bias[None, :]
    each = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels - 1, 0))
    return jnp.sum(weights * each)


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


if __name__ == "__main__":
    main()
