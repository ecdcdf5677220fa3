"""BERT4Rec, and the models that it is compared with: trained, evaluated and used.

    main.py [--mode=MODE] [--config=FILE] [--workdir=DIR] [--config.SECTION.KEY=VALUE ...]

Most used:

  python main.py
      trains and evaluates on a generated log, in two or three minutes
  python main.py --config=configs/ml1m.py --workdir=runs/ml1m
      the same on MovieLens-1M, which it downloads; stopped, the same command goes on
  python main.py --config=configs/custom.py --config.data.path=log.csv --workdir=runs/mine
      the same on your own log
  python main.py --mode=recommend --workdir=runs/mine --output=recommendations.csv
      the best items for each of its users
  python main.py --mode=serve --workdir=runs/mine
      recommendations over HTTP

Modes:

  train      trains or resumes, then evaluates the best checkpoint on the test items
  evaluate   restores the best checkpoint of --workdir and evaluates it
  compare    sets the test ranks of two runs side by side: --runs=A,B
  table      trains each of --models that is not finished; prints the paper's Table 2 with ours
  recommend  writes to --output the --top_k items for each user of the training log or of --input
  serve      recommendations over HTTP, and a page to try them
  finetune   goes on from the run --from with a later log, in a folder of its own
  export     writes the model to the folder --output, for use without this package
  prepare    makes of a log of any size the folder --output that training reads from the disk

Settings: each of configs/default.py is a flag too, as in --config.train.steps=1000 or
--config.seed=1; docs/configuration.md has them as a table.
"""

import os
import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from bert4rec_jax import allocator, cli
from configs import default

SYNTHETIC = pathlib.Path(__file__).parent / "configs" / "synthetic.py"

# The order of the paper's Table 2, each of ours that it does not have behind its like.
TABLE = ["popularity", "markov", "gru4rec", "lstm", "caser", "sasrec_bce", "sasrec"]
TABLE += ["cloze", "bert4rec"]


def train(values, workdir, started):
    from bert4rec_jax import modes

    modes.train(cli.chosen_config(values["config"]), workdir, started=started)


def evaluate(values, workdir, started):
    from bert4rec_jax import modes

    modes.evaluate(default.get_config(), cli.settings_of(values["config"]), workdir)


def compare(values, workdir, started):
    from bert4rec_jax import modes

    modes.compare(values.runs)


def table(values, workdir, started):
    configs = cli.configs_of(values["config"], values.models)
    from bert4rec_jax import table

    table.make_table(configs, workdir)


def recommend(values, workdir, started):
    from bert4rec_jax import recommending

    recommending.recommend(
        default.get_config(),
        cli.settings_of(values["config"]),
        workdir,
        source=values.input,
        output=pathlib.Path(values.output or workdir / "recommendations.parquet"),
        k=values.top_k,
        with_seen=values.with_seen,
        allow=values.allow,
        deny=values.deny,
        titles=values.titles,
    )


def serve(values, workdir, started):
    cli.require("serve", "fastapi", "prometheus_client", "uvicorn")
    from bert4rec_jax import modes
    from bert4rec_jax.serving import schema, server

    modes.refuse_other_settings(default.get_config(), cli.settings_of(values["config"]), workdir)
    server.serve(
        workdir,
        host=values.host,
        port=values.port,
        titles=values.titles,
        reload_seconds=values.reload_seconds,
        limits=schema.Limits(
            k=values.max_k,
            history=values.max_history,
            histories=values.max_histories,
            body_bytes=values.max_body_bytes,
            waiting=values.max_waiting,
        ),
    )


def finetune(values, workdir, started):
    from bert4rec_jax import finetuning

    given = values["from"].value
    origin = pathlib.Path(given and os.path.abspath(given))  # of ".", too, the name
    finetuning.finetune(
        default.get_config(),
        cli.settings_of(values["config"]),
        origin,
        workdir if values.workdir else origin.parent / f"{origin.name}-finetuned",
        retire=values.retire,
        started=started,
    )


def export(values, workdir, started):
    from bert4rec_jax import exporting, modes

    modes.refuse_other_settings(default.get_config(), cli.settings_of(values["config"]), workdir)
    output = pathlib.Path(values.output or f"{workdir}-exported")
    exporting.export(workdir, output)


def prepare(values, workdir, started):
    from bert4rec_jax import preparing

    preparing.prepare(cli.chosen_config(values["config"]), values.output)


MODES = {
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "table": table,
    "recommend": recommend,
    "serve": serve,
    "finetune": finetune,
    "export": export,
    "prepare": prepare,
}


def define_flags():
    config_flags.DEFINE_config_file(
        "config",
        str(SYNTHETIC),
        "file of settings, or FILE:NAME for another model (default configs/synthetic.py)",
        lock_config=True,
    )
    flags.DEFINE_enum("mode", "train", MODES, "one of the modes above")
    flags.DEFINE_string("workdir", "", "folder of the run (default runs/ and the data set's name)")
    flags.DEFINE_list("runs", [], "compare: the work directories of two runs, A,B")
    flags.DEFINE_list("models", TABLE, "table: models by the names that --config=FILE:NAME takes")
    flags.DEFINE_string(
        "input", "", "recommend: log of the users to recommend for (default the training log)"
    )
    flags.DEFINE_string(
        "output",
        "",
        "recommend: file ending in .parquet, .csv or .jsonl (default recommendations.parquet in "
        "the workdir); export, prepare: a new folder",
    )
    flags.DEFINE_integer("top_k", 10, "recommend: items for each user")
    flags.DEFINE_bool("with_seen", False, "recommend: items of the history too")
    flags.DEFINE_string("allow", "", "recommend: file of the only items that may be recommended")
    flags.DEFINE_string("deny", "", "recommend: file of items that must not be recommended")
    flags.DEFINE_string("titles", "", "recommend, serve: table with the columns item and title")
    flags.DEFINE_string("host", "127.0.0.1", "serve: address to listen on; 0.0.0.0: all")
    flags.DEFINE_integer("port", 8000, "serve: 0: any free one, which is printed", 0, 65535)
    flags.DEFINE_float("reload_seconds", 10.0, "serve: between looks for a better checkpoint", 0.0)
    flags.DEFINE_integer("max_k", 100, "serve: most items for a history")
    flags.DEFINE_integer("max_history", 1000, "serve: longest history, items")
    flags.DEFINE_integer("max_histories", 64, "serve: most histories in a request")
    flags.DEFINE_integer("max_body_bytes", 1 << 20, "serve: longest body of a request")
    flags.DEFINE_integer("max_waiting", 1024, "serve: histories that may wait; beyond them 503")
    flags.DEFINE_string("from", "", "finetune: folder of the run to go on from; it is only read")
    flags.DEFINE_string("retire", "", "finetune: file of items never to be recommended again")
    flags.DEFINE_bool("distributed", False, "train, evaluate: this is one of several processes")
    flags.DEFINE_string(
        "coordinator",
        "",
        "with --distributed, HOST:PORT of the first process; left out, JAX finds it and the next "
        "two on a TPU pod and under Slurm",
    )
    flags.DEFINE_integer("processes", 0, "with --distributed, how many there are", 0)
    flags.DEFINE_integer("process_id", -1, "with --distributed, this one's number, from 0", -1)


if __name__ == "__main__":
    allocator.keep_freed_memory()
    sys.exit(cli.run(sys.argv, define_flags, MODES))
