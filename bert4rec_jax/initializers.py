"""How parameters start, by name: what `--config.model.kernel_init` may be."""

from jax.nn import initializers

# BERT's: a normal of deviation 0.02 cut at two deviations (modeling.py, 371-373).
BERT = initializers.truncated_normal(stddev=0.02)
# 0.02 is BERT's, of width 768; Xavier's scale follows the width, and at d = 64 is larger. Training
# on the generated log left its first plateau within 400 steps with it, and not with 0.02.
BY_NAME = {"bert": BERT, "xavier": initializers.xavier_uniform()}
