import base64
import copy
import html.parser
import io
import json
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation import page, report
from bert4rec_jax.evaluation.html import write_report

PROTOCOLS = ("popularity_100", "uniform_100", "full")
METRICS = ("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR")


def figures(offset):
    return {m: offset + 0.01234567 * i for i, m in enumerate(METRICS)}


CONFIG = {
    "seed": 7,
    "data": {"name": "ml-1m", "path": ""},
    "model": {"name": "bert4rec", "hidden": 64},
    "optimizer": {"learning_rate": 0.0001, "bias_correction": False},
    "eval": {"protocols": list(PROTOCOLS), "ks": [1, 5, 10]},
}
RESULTS = {
    "dataset": {
        "name": "ml-1m", "users": 6040, "items": 3416, "actions": 999611, "length_mean": 165.4985,
        "density": 0.048448, "repeats": 0, "digest": "d34d" * 16, "test_digest": "4469" * 16,
        "canonical": "ml-1m",
    },
    "model": {"name": "bert4rec", "hidden": 64, "parameters": 123456},
    "train": {"steps": 200, "best_step": 100, "epochs": 2.5, "seconds": 57.59213,
              "examples_per_second": 3879.0018, "device": "cpu", "seed": 7},
    "valid": {p: figures(0.1 * i) for i, p in enumerate(PROTOCOLS)},
    "test": {p: figures(0.1 * i + 0.05) for i, p in enumerate(PROTOCOLS)},
    "test_interval": {
        p: {m: [v - 0.011111, v + 0.022222] for m, v in figures(0.1 * i + 0.05).items()}
        for i, p in enumerate(PROTOCOLS)
    },
    "breakdown": {
        "protocol": "full",
        "history_length": {
            "3-9": {"users": 1200} | figures(0.31), "10-12": {"users": 1100} | figures(0.35),
        },
        "item_popularity": {
            "head": {"items": 5, "users": 2000} | figures(0.4),
            "middle": {"items": 7, "users": 300} | figures(0.2),
            "tail": {"items": 40, "users": 0},
        },
    },
    "recommendations": {"coverage@10": 0.54321, "mean_popularity@10": 280.92586},
}  # fmt: skip
ATTENTION = np.full((2, 2, 15, 15), 1 / 15, np.float32)


def write_run(folder, *, config=CONFIG, results=RESULTS, records=True, ranks=True):
    folder.mkdir(parents=True, exist_ok=True)
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    if results:
        (folder / "results.json").write_text(json.dumps(results))
    if records:
        lines = [
            {"step": s, "split": "train", "loss": 8 - s / 100, "examples_per_second": 64.0,
             "minutes": s / 60}
            for s in (50, 100, 150, 200)
        ]  # fmt: skip
        lines += [
            {"step": s, "split": "valid", "minutes": s / 60}
            | {f"{p}/{m}": s / 1000 for p in PROTOCOLS for m in METRICS}
            for s in (100, 200)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text + '{"step": 250, "spl')
    if ranks:
        users = np.arange(40)
        judged = {("test", p): (users, (users * 3) % 101) for p in PROTOCOLS}
        report.write_ranks(folder / "ranks.parquet", [f"u{u}" for u in users], judged)
    return folder


class Reader(html.parser.HTMLParser):
    """Tables by caption (or by the first cell of their first row), headings, pictures, all text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.headings, self.pictures = [], {}, [], []
        self.text, self.links, self.tags = "", [], set()
        self._table = self._cell = None
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "srcset", "style") or name[:2] == "on":
                self.links.append((tag, name, value))
        if tag == "img":
            self.pictures.append(dict(attrs))
        if tag == "table":
            self._table = []
            self._caption = ""
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "table":
            key = self._caption or self._table[0][0]
            self.tables[key] = self._table

    def handle_data(self, data):
        if "style" in self.open:
            self.style = data
            return
        self.text += data
        if not self.open:
            return
        if self.open[-1] in ("td", "th"):
            self._table[-1][-1] += data
        elif self.open[-1] == "caption":
            self._caption += data
        elif self.open[-1] == "h2":
            self.headings.append(data)


def read(folder):
    return Reader((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("run"))
    write_report(folder, attention=ATTENTION)
    return folder


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_metric_table_is_results_json(written, protocol):
    header, *rows = read(written).tables[protocol]
    assert header == ["", "validation", "test", "95% interval"] + ["paper"] * (
        protocol == "popularity_100"
    )
    paper = {"HR@1": "0.2863", "HR@5": "0.5876", "HR@10": "0.6970"}
    paper |= {"NDCG@5": "0.4454", "NDCG@10": "0.4818", "MRR": "0.4254"}
    assert [row[0] for row in rows] == list(METRICS)
    for metric, valid, test, interval, *beside in rows:
        assert valid == f"{RESULTS['valid'][protocol][metric]:.4f}"
        assert test == f"{RESULTS['test'][protocol][metric]:.4f}"
        low, high = RESULTS["test_interval"][protocol][metric]
        assert interval == f"{low:.4f}–{high:.4f}"
        assert beside == [paper[metric]] * (protocol == "popularity_100")


def test_the_breakdown_is_results_json(written):
    tables = read(written).tables
    for key, caption in (
        ("history_length", "By history length"),
        ("item_popularity", "By popularity of the true item"),
    ):
        header, *rows, every = tables[caption]
        groups = RESULTS["breakdown"][key]
        assert [row[0] for row in rows] == list(groups)
        for label, *cells in rows:
            for name, cell in zip(header[1:], cells, strict=True):
                value = groups[label].get(name)
                assert cell == (
                    "" if value is None else f"{value:.4f}" if name in METRICS else f"{value:,}"
                )
        assert every[0] == "all"
        assert every[-1] == f"{RESULTS['test']['full']['MRR']:.4f}"
        assert every[header.index("users")] == "2,300"


def test_data_training_and_settings_are_the_files(written):
    reader = read(written)
    data = {row[0]: row[1:] for row in reader.tables[""][1:]}
    assert data["users"] == ["6,040", "6,040"]
    assert data["actions"] == ["999,611", "1.0m"]
    assert data["mean length"] == ["165.5", "163.5"]
    assert data["density"] == ["4.84%", "4.79%"]
    assert data["repeated items"] == ["0", ""]
    assert reader.tables["digest"][0] == ["digest", "d34d" * 16]
    assert dict(reader.tables["steps"]) == {
        "steps": "200", "best step": "100", "epochs": "2.5", "seconds of training": "57.59",
        "windows per second": "3,879", "device": "cpu", "seed": "7", "parameters": "123,456",
    }  # fmt: skip
    assert dict(reader.tables["The ten best unseen items of every test user"]) == {
        "catalogue coverage@10": "54.32% of the items",
        "mean popularity@10": "280.9 training rows an item",
    }
    assert reader.tables["general"] == [["seed", "7"]]
    assert dict(reader.tables["data"]) == {"name": "ml-1m", "path": "–"}
    assert dict(reader.tables["optimizer"]) == {
        "learning_rate": "0.0001", "bias_correction": "false",
    }  # fmt: skip
    assert dict(reader.tables["eval"])["ks"] == "1, 5, 10"


def test_the_heading_says_what_the_run_is(written):
    reader = read(written)
    assert "bert4rec on ml-1m" in reader.text
    assert "canonical ml-1m; data digest d34dd34dd34d" in reader.text
    assert "95% interval 0.0883–0.1216" in reader.text  # NDCG@10 of popularity_100: 0.0994
    assert reader.headings == [
        "Metrics", "Learning curves", "Breakdown", "Rank distribution", "Recommendations",
        "Attention", "Data and training", "Configuration",
    ]  # fmt: skip


def test_every_picture_is_a_valid_png_inside_and_beside_the_report(written):
    embedded = []
    for picture in read(written).pictures:
        kind, _, data = picture["src"].partition(",")
        assert kind == "data:image/png;base64"
        assert picture["alt"]
        embedded.append(base64.b64decode(data, validate=True))
        pixels = matplotlib.image.imread(io.BytesIO(embedded[-1]))
        assert pixels.std() > 0.01  # not one colour
        shown = int(picture["width"]) / int(picture["height"])
        assert shown == pytest.approx(pixels.shape[1] / pixels.shape[0], rel=0.01)
    files = {path.name: path.read_bytes() for path in (written / "plots").iterdir()}
    assert sorted(files.values()) == sorted(embedded)
    assert sorted(files) == [
        "attention.png", "breakdown_by_length.png", "breakdown_by_popularity.png",
        "ranks_full.png", "ranks_popularity_100.png", "ranks_uniform_100.png",
        "training_loss.png", "validation_by_minutes.png", "validation_by_steps.png",
    ]  # fmt: skip


def test_nothing_is_fetched_and_no_script_runs(written):
    reader = read(written)
    assert {(tag, name) for tag, name, _ in reader.links} == {("img", "src")}
    assert not reader.tags & {"script", "link", "iframe", "object", "base"}
    text = (written / "report.html").read_text(encoding="utf-8")
    assert "http" not in text
    assert "url(" not in reader.style
    assert "@import" not in reader.style


def test_the_same_files_give_the_same_report(written, tmp_path):
    again = write_run(tmp_path / "elsewhere")
    write_report(again, attention=ATTENTION.copy())
    assert (again / "report.html").read_bytes() == (written / "report.html").read_bytes()


def without(*keys):
    return {key: value for key, value in RESULTS.items() if key not in keys}


@pytest.mark.parametrize(
    ("run", "attention", "missing"),
    [
        ({}, None, ["Attention"]),
        ({"ranks": False}, ATTENTION, ["Rank distribution"]),
        ({"records": False}, None, ["Learning curves", "Attention"]),
        ({"config": None}, None, ["Configuration", "Attention"]),
        (
            {"results": without("breakdown", "recommendations"), "records": False},
            None,
            ["Breakdown", "Recommendations", "Learning curves", "Attention"],
        ),
        (
            {"results": None, "ranks": False, "records": False},
            None,
            ["Metrics", "Learning curves", "Breakdown", "Rank distribution", "Recommendations",
             "Attention", "Data and training"],
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_left_out(run, attention, missing, tmp_path, written):
    write_report(write_run(tmp_path, **run), attention=attention)
    expected = [title for title in read(written).headings if title not in missing]
    assert read(tmp_path).headings == expected


def test_without_intervals_or_validation_their_columns_are_gone(tmp_path):
    run = {"results": without("test_interval", "valid"), "records": False, "ranks": False}
    write_report(write_run(tmp_path, **run), attention=None)
    reader = read(tmp_path)
    assert reader.tables["full"][0] == ["", "test"]
    assert "interval" not in reader.text.lower()


@pytest.mark.parametrize(
    ("changed", "beside", "warned"),
    [
        ({"canonical": None}, True, True),
        ({"name": "mine", "canonical": None}, False, False),
        ({"split": "global_time"}, False, False),
    ],
)
def test_the_papers_row_stands_beside_comparable_runs_only(changed, beside, warned, tmp_path):
    results = RESULTS | {"dataset": RESULTS["dataset"] | changed}
    run = {"results": results, "records": False, "ranks": False}
    write_report(write_run(tmp_path, **run), attention=None)
    reader = read(tmp_path)
    assert ("paper" in reader.tables["popularity_100"][0]) == beside
    assert ("compare with care" in reader.text) == warned
    assert ("paper, Table 1" in reader.tables[""][0]) == (changed.get("name") != "mine")


def test_odd_names_are_text(tmp_path):
    odd = "<script>alert('&amp;')</script>\"><img src=x onerror=y>"
    results, config = copy.deepcopy(RESULTS), copy.deepcopy(CONFIG)
    results["dataset"]["name"] = results["model"]["name"] = config["data"]["path"] = odd
    results["breakdown"]["history_length"] = {odd: {"users": 1} | figures(0.1)}
    config[odd] = {odd: odd}
    run = {"results": results, "config": config, "records": False, "ranks": False}
    write_report(write_run(tmp_path, **run), attention=None)
    reader = read(tmp_path)
    assert "script" not in reader.tags
    assert {(tag, name) for tag, name, _ in reader.links} == {("img", "src")}
    assert f"{odd} on {odd}" in reader.text
    assert dict(reader.tables["data"])["path"] == odd
    assert reader.tables[odd] == [[odd, odd]]
    assert reader.tables["By history length"][1][0] == odd


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"neither config.json nor results.json"):
        write_report(tmp_path, attention=None)
    (tmp_path / "results.json").write_text('{"test": ')
    with pytest.raises(UserError, match=r"results.json: not JSON"):
        write_report(tmp_path, attention=None)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    write_run(tmp_path, records=False, ranks=False)
    write_report(tmp_path, attention=None)
    before = (tmp_path / "report.html").read_bytes()
    monkeypatch.setattr(page, "document", lambda *parts: "\ud800")  # cannot be encoded
    with pytest.raises(UnicodeEncodeError):
        write_report(tmp_path, attention=None)
    assert (tmp_path / "report.html").read_bytes() == before
    assert not list(tmp_path.rglob("*.part"))


def test_matplotlib_is_imported_late():
    code = "import sys, bert4rec_jax.evaluation.html; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
