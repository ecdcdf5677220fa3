"""Train, evaluate: `python main.py [--config=configs/X.py] [--workdir=DIR] [--mode=MODE]`.

Any setting of the config is a flag: `--config.section.key=value`; configs/default.py lists them.
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from bert4rec_jax import allocator, cli

_SYNTHETIC = pathlib.Path(__file__).parent / "configs" / "synthetic.py"
CONFIG = config_flags.DEFINE_config_file("config", str(_SYNTHETIC), lock_config=True)


def train(flag_values, workdir, started):
    from bert4rec_jax import experiment

    experiment.train(flag_values.config, workdir, started=started)


def evaluate(flag_values, workdir, started):
    from bert4rec_jax import experiment

    overrides = config_flags.get_override_values(flag_values["config"])
    experiment.evaluate(overrides, workdir)


MODES = {"train": train, "evaluate": evaluate}
flags.DEFINE_enum("mode", "train", MODES, "train (resumes where --workdir stands) or evaluate")
flags.DEFINE_string("workdir", "", "folder of the run; default runs/<data.name>")

if __name__ == "__main__":
    allocator.keep_freed_memory()
    sys.exit(cli.run(sys.argv, MODES))
