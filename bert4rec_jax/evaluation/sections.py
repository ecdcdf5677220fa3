"""The report's sections: what results.json and config.json hold, as tables."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from bert4rec_jax.evaluation import page, published

_PROTOCOLS = {
    "popularity_100": "true item among 100 unseen ones drawn by popularity, as in the paper",
    "uniform_100": "true item among 100 unseen ones drawn uniformly",
    "full": "true item among the whole catalogue but the user's earlier items",
    "full_with_history": "true item among the whole catalogue",
}
# The paper's Table 1, as printed: users, items, actions, mean length, density.
_TABLE_1 = {
    "beauty": ("40,226", "54,542", "0.35m", "8.8", "0.02%"),
    "steam": ("281,428", "13,044", "3.5m", "12.4", "0.10%"),
    "ml-1m": ("6,040", "3,416", "1.0m", "163.5", "4.79%"),
    "ml-20m": ("138,493", "26,744", "20m", "144.4", "0.54%"),
}
_STATISTICS = {  # its columns first, in its order
    "users": "users",
    "items": "items",
    "actions": "actions",
    "length_mean": "mean length",
    "density": "density",
    "length_min": "shortest history",
    "length_median": "median history",
    "length_max": "longest history",
    "repeats": "repeated items",
    "best_full_HR@10": "best achievable full HR@10",
}
_TRAINING = {
    "seconds": "seconds of training",
    "examples_per_second": "windows per second",
    "fill": "computed positions that hold an item",
    "jax": "JAX",
}


def headline(results: Mapping[str, Any]) -> str:
    """The few numbers to see first: NDCG@10 on test, or the first metric where it is missing."""
    entries = []
    for protocol, metrics in results.get("test", {}).items():
        metric = "NDCG@10" if "NDCG@10" in metrics else next(iter(metrics))
        lines = []
        if interval := _interval(results, protocol, metric):
            lines.append(f"95% interval {interval}")
        if paper := _paper(results, protocol).get(metric):
            lines.append(f"paper {paper:.4f}")
        entries.append((f"{metric}, {protocol}", f"{metrics[metric]:.4f}", lines))
    return page.tiles(entries) if entries else ""


def metrics(results: Mapping[str, Any]) -> list[str]:
    """A table a protocol: validation, test, interval, the paper's row."""
    tables = []
    for protocol, found in results.get("test", {}).items():
        columns = {
            "validation": _column(results.get("valid", {}).get(protocol, {}), found),
            "test": _column(found, found),
            "95% interval": [_interval(results, protocol, metric) for metric in found],
            "paper": _column(_paper(results, protocol), found),
        }
        columns = {title: cells for title, cells in columns.items() if any(cells)}
        rows = list(zip(found, *columns.values(), strict=True))
        explanation = _PROTOCOLS.get(protocol, "")
        tables.append(page.table(["", *columns], rows, caption=protocol, explanation=explanation))
    if not tables:
        return []
    notes = ["Means over users; ties count against the true item."]
    if results.get("test_interval"):
        notes.append("Intervals are bootstrapped over the test users.")
    if any(_paper(results, protocol) for protocol in results["test"]):
        notes.append("Paper: Sun et al., CIKM 2019, Table 2.")
        if results["dataset"].get("canonical") != results["dataset"]["name"]:
            notes.append("These are not known to be its data: compare with care.")
    return [page.beside(tables), page.paragraph(" ".join(notes))]


def _paper(results: Mapping[str, Any], protocol: str) -> dict[str, float]:
    """The paper's row, where its protocol and its split are this run's; else {}."""
    if protocol != published.PROTOCOL:
        return {}
    return published.row_of_results(results)


def _interval(results: Mapping[str, Any], protocol: str, metric: str) -> str:
    interval = results.get("test_interval", {}).get(protocol, {}).get(metric)
    return "{:.4f}–{:.4f}".format(*interval) if interval else ""


def _column(values: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [f"{values[name]:.4f}" if name in values else "" for name in names]


def breakdown(results: Mapping[str, Any], figures: Sequence[str]) -> list[str]:
    """Tables by history length and by item popularity, each beside its figure (markup), if any."""
    parts = results.get("breakdown")
    if not parts:
        return []
    protocol = parts["protocol"]
    overall = results["test"][protocol]
    captions = {
        "history_length": "By history length",
        "item_popularity": "By popularity of the true item",
    }
    made = []
    for key, caption in captions.items():
        groups = parts[key]
        counts = [name for name in ("items", "users") if all(name in g for g in groups.values())]
        rows = [
            [label, *(f"{group[name]:,}" for name in counts), *_column(group, overall)]
            for label, group in groups.items()
        ]
        totals = [f"{sum(group[name] for group in groups.values()):,}" for name in counts]
        rows.append(["all", *totals, *_column(overall, overall)])
        made.append(page.table(["", *counts, *overall], rows, caption=caption))
    if len(figures) == len(made):
        made = [page.beside(pair) for pair in zip(figures, made, strict=True)]
    note = (
        f"Test figures under {protocol}. History length: items before the true one, users in "
        "quarters. Popularity: head, middle and tail hold a third of the training rows each."
    )
    if any("interval" in group for key in captions for group in parts[key].values()):
        note += " Lines at the bars' left are bootstrapped 95% intervals."
    return [*made, page.paragraph(note)]


def recommendations(results: Mapping[str, Any]) -> list[str]:
    values = results.get("recommendations", {})
    rows = []
    if "coverage@10" in values:
        rows.append(("catalogue coverage@10", f"{values['coverage@10']:.2%} of the items"))
    if "mean_popularity@10" in values:
        popularity = f"{values['mean_popularity@10']:,.1f} training rows an item"
        rows.append(("mean popularity@10", popularity))
    return [page.settings("The ten best unseen items of every test user", rows)] if rows else []


def data(dataset: Mapping[str, Any]) -> str:
    """The data set in numbers, the paper's beside them where it has them."""
    if not dataset:
        return ""
    paper = _TABLE_1.get(dataset["name"], ())
    rows = []
    for (key, name), theirs in itertools.zip_longest(_STATISTICS.items(), paper, fillvalue=""):
        if key in dataset:
            value = f"{dataset[key]:.2%}" if key == "density" else number(dataset[key])
            rows.append((name, value, theirs) if paper else (name, value))
    header = ["", "this run", "paper, Table 1"] if paper else ["", "this run"]
    note = ""
    if dataset["name"] == "ml-1m":
        note = page.paragraph("The paper's mean length leaves out the two items held out.")
    digests = [
        (key.replace("_", " "), dataset[key]) for key in ("digest", "test_digest") if key in dataset
    ]
    return "<div>" + page.table(header, rows) + note + page.settings("", digests) + "</div>"


def training(results: Mapping[str, Any]) -> str:
    """How the run went."""
    values = dict(results.get("train", {}))
    if "parameters" in results.get("model", {}):
        values["parameters"] = results["model"]["parameters"]
    rows = [(_TRAINING.get(key, key.replace("_", " ")), number(v)) for key, v in values.items()]
    return page.settings("", rows) if rows else ""


def configuration(config: Mapping[str, Any]) -> str:
    """All settings in the groups that the config has; those in none come first."""
    groups = {name: part for name, part in config.items() if isinstance(part, Mapping)}
    alone = {name: value for name, value in config.items() if name not in groups}
    if alone:
        groups = {"general": alone} | groups
    return page.beside(
        page.settings(name, [(key, setting(value)) for key, value in part.items()])
        for name, part in groups.items()
    )


def number(value: Any) -> str:
    """A figure to read: four digits that count, thousands parted.

    >>> number(89768), number(3879.0018), number(57.5921), number("cpu")
    ('89,768', '3,879', '57.59', 'cpu')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return setting(value)
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"


def setting(value: Any) -> str:
    """A setting to copy, in full.

    >>> setting(0.1), setting([1, 5]), setting(True), setting("")
    ('0.1', '1, 5', 'true', '–')
    """
    if isinstance(value, list):
        return ", ".join(map(setting, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value in ("", None) else str(value)
