"""The paper's Table 2 for one data set: many results.json as one table, the paper's rows beside."""

from collections.abc import Mapping, Sequence
from typing import Any

from bert4rec_jax.data.identity import Identity, verdict
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import published
from bert4rec_jax.evaluation.report import format_table

# Protocol and metric of each column: the paper's, then what ranks the whole catalogue.
COLUMNS = [(published.PROTOCOL, m) for m in ("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR")]
COLUMNS += [("full", "HR@10"), ("full", "NDCG@10")]
# What is said of the columns of a protocol, on the screen and below the Markdown.
TITLES = {published.PROTOCOL: published.PROTOCOL, "full": "full where the column says so"}
NOTES = {
    published.PROTOCOL: "Columns that name a metric alone rank the true item among 100 drawn by "
    "popularity, the same ones for every model.",
    "full": "Columns called full rank the true item among the whole catalogue but the user's "
    "earlier items.",
}


def summary(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What table.json holds: "dataset", and by model its figures and the paper's.

    Args:
        results: model -> the parts of its results.json.

    Raises:
        UserError: the models were judged on different data.
    """
    datasets = {name: parts["dataset"] for name, parts in results.items()}
    first, *others = datasets
    for name in others:
        for key in ("digest", "test_digest", "split", "trained_on_valid"):
            if datasets[name].get(key) != datasets[first].get(key):
                raise UserError(
                    f"{first} and {name} were judged on other data ({key} "
                    f"{datasets[first].get(key)} and {datasets[name].get(key)}): "
                    "choose another --workdir"
                )
    models = {
        name: {
            **{key: parts[key] for key in ("model", "train", "test", "test_interval")},
            "paper": published.row_of_results(parts),
        }
        for name, parts in results.items()
    }
    return {"dataset": datasets[first], "models": models}


def screen(table: Mapping[str, Any]) -> str:
    """Plain text: a line a model, and the paper's below where it has one.

    Args:
        table: from `summary`.
    """
    title = f"{table['dataset']['name']}: {', and '.join(_said(TITLES, table))}"
    rows = [row for row in _rows(table) if row[1] != _INTERVAL]
    return f"{title}\n" + format_table(
        _header(table), [[cell or "-" for cell in row] for row in rows]
    )


def markdown(table: Mapping[str, Any]) -> str:
    """The same as Markdown, with intervals, and with what the figures are of.

    Args:
        table: from `summary`.
    """
    data = table["dataset"]
    known = Identity(data["digest"], data["test_digest"], data["canonical"])
    machines = {
        "{devices} x {device}, JAX {jax}, seed {seed}".format(**model["train"])
        for model in table["models"].values()
    }
    header = _header(table)
    lines = [f"| {' | '.join(row)} |" for row in [header, *_rows(table)]]
    lines.insert(1, "|---|---|" + "---:|" * (len(header) - 2))
    notes = [
        f"{data['users']:,} users, {data['items']:,} items, {data['actions']:,} actions; "
        f"{verdict(data['name'], known)}; data digest {data['digest'][:12]}; "
        f"split {data['split']}; {'; '.join(sorted(machines))}.",
        "Test figures of the checkpoint that validation chose: means over users, ties against the "
        "true item, intervals bootstrapped over users. "
        f"{' '.join(_said(NOTES, table))} Minutes are of training steps alone.",
    ]
    if any(model["paper"] for model in table["models"].values()):
        notes.append("Paper: Sun et al., CIKM 2019, Table 2, of the model of that name there.")
    return "\n\n".join([f"# {data['name']}: all models", "\n".join(lines), *notes]) + "\n"


_INTERVAL = "95% interval"


def _columns(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Those of COLUMNS that every model has."""
    tests = [model["test"] for model in table["models"].values()]
    return [(p, m) for p, m in COLUMNS if all(m in test.get(p, {}) for test in tests)]


def _said(words: Mapping[str, str], table: Mapping[str, Any]) -> list[str]:
    """Those of `words`, by protocol, of which the table has columns."""
    return [words[p] for p in dict.fromkeys(p for p, _ in _columns(table))]


def _header(table: Mapping[str, Any]) -> list[str]:
    names = [f"full {metric}" if p == "full" else metric for p, metric in _columns(table)]
    return ["model", "", *names, "steps", "minutes"]


def _rows(table: Mapping[str, Any]) -> list[Sequence[str]]:
    columns, rows = _columns(table), []
    for name, model in table["models"].items():
        trained = model["train"]
        figures = [f"{model['test'][p][m]:.4f}" for p, m in columns]
        minutes = f"{trained['seconds'] / 60:.1f}" if "seconds" in trained else ""
        rows.append([name, "ours", *figures, f"{trained['steps']:,}", minutes])
        bounds = ["{:.4f}–{:.4f}".format(*model["test_interval"][p][m]) for p, m in columns]
        rows.append(["", _INTERVAL, *bounds, "", ""])
        if paper := model["paper"]:
            theirs = [f"{paper[m]:.4f}" if p == published.PROTOCOL else "" for p, m in columns]
            rows.append(["", "paper", *theirs, "", ""])
    return rows
