"""The house rules, read off the source: who imports whom, and which library lives where.

Imports flow one way: foundation <- leaves <- training, evaluation <- experiment <- modes <-
main.py, and training and evaluation do not know each other. serving stands on the recommender, and
nothing but main.py on it. A leaf is any module at the package's
top or in data/; a new one has nothing to register here unless it needs another leaf or a library
with a home.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "bert4rec_jax"
LONGEST = 300  # lines; a longer module is asking to be two

FOUNDATION = {"console", "errors", "vocab"}
FOLDERS = {"data", "evaluation", "serving", "training"}
# None imports a later one.
DATA_CHAIN = ["sources", "columns", "interactions", "sequences", "batching"]
NEIGHBOURS = {  # leaves that need a leaf
    "cli": {"hosts", "stopping"},
    "data.batching": {"masking"},
    "data.preparation": {"files"},
    "lists": {"data.panics"},
    "hosts": {"mesh", "watch"},
    "shards": {"mesh"},
    "losses": {"mesh", "sampled_losses", "shards"},
    "sampled_losses": {"mesh", "shards"},
    "optimizer": {"shards"},
    "next_item": {"masking"},
    "mixture": {"masking", "next_item"},
    "attention": {"dropout"},
    "encoder": {"attention", "dropout", "initializers", "shards"},
    "sasrec": {"attention", "dropout", "initializers", "shards"},
    "gru4rec": {"dropout", "shards"},
    "caser": {"dropout", "shards"},
}
MODELS = {"encoder", "sasrec", "gru4rec", "caser"}  # the modules that define a Flax model
ASSEMBLERS = {
    "models",
    "settings",
    "experiment",
    "tasks",
    "modes",
    "outputs",
    "narration",
    "table",
    "recommender",
    "recommending",
    "finetuning",
    "loading",
    "fitting",
    "exporting",
    "datasets",
    "preparing",
}  # where a run is put together from its config, and run

# Library or name -> the modules of the package that may use it.
HOMES = {
    "orbax": {"training.checkpoint"},
    "flax": MODELS | {"training.state"},
    "ml_collections": ASSEMBLERS,
    "tensorboardX": {"training.records"},
    "fastapi": {"serving.app"},
    "starlette": {"serving.asgi"},
    "pydantic": {"serving.schema"},
    "prometheus_client": {"serving.app", "serving.telemetry"},
    "uvicorn": {"serving.server"},
    "grain": {"data.feeding"},
    "filelock": {"files"},
    "jax.distributed": {"hosts"},
    "jax.process_index": {"hosts", "mesh"},
    "jax.process_count": {"hosts", "mesh"},
    "jax.sharding": {"mesh"},
    "jax.shard_map": {"mesh"},
    "jax.pmap": {"mesh"},
    "jax.make_mesh": {"mesh"},
    "jax.set_mesh": {"mesh"},
    "jax.NamedSharding": {"mesh"},
    "jax.P": {"mesh"},
    "jax.make_array_from_process_local_data": {"mesh"},
    "jax.make_array_from_callback": {"mesh"},
    "jax.make_array_from_single_device_arrays": {"mesh"},
    "jax.lax.with_sharding_constraint": {"mesh"},
    "jax.lax.psum": {"mesh"},
    "jax.lax.pmean": {"mesh"},
    "jax.lax.pmax": {"mesh"},
    "jax.lax.pcast": {"mesh"},
    "jax.lax.all_gather": {"mesh"},
    "jax.lax.axis_index": {"mesh"},
    "jax.export": {"exporting"},
    "jax.experimental": set(),  # whatever is there moves
}


def relative(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: pathlib.Path) -> str:
    """bert4rec_jax/training/loop.py -> training.loop; a package's __init__ -> its own name."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}
MODULES = {name: path.read_text("utf-8") for name, path in SOURCES.items()}
OUTSIDE = [
    path for path in (ROOT / "main.py", *sorted((ROOT / "configs").glob("*.py"))) if path.exists()
]


def uses(source: str, package: str = PACKAGE) -> set[str]:
    """Absolute dotted names that a source imports, or reaches as attributes of an import.

    package is the one that relative imports start from.
    """
    tree = ast.parse(source)
    names, bound = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.add(alias.name)
                top = alias.name.partition(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                names.add(f"{origin}.{alias.name}")
                bound[alias.asname or alias.name] = f"{origin}.{alias.name}"
    for node in ast.walk(tree):
        attributes = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if attributes and isinstance(node, ast.Name) and node.id in bound:
            names.add(".".join([bound[node.id], *reversed(attributes)]))
    return names


def reaches(names: set[str], home: str) -> bool:
    return any(name == home or name.startswith(f"{home}.") for name in names)


def package_of(name: str) -> str:
    """The dotted package that a module's relative imports start from."""
    if SOURCES[name].name == "__init__.py":
        return f"{PACKAGE}.{name}".rstrip(".")
    return ".".join([PACKAGE, *name.split(".")[:-1]])


def imported_modules(name: str) -> set[str]:
    """The package's own modules that a module imports, by their short names."""
    names = uses(MODULES[name], package_of(name))
    return {
        other
        for other in MODULES
        if other and other != name and reaches(names, f"{PACKAGE}.{other}")
    } - FOLDERS


def may_import(name: str) -> set[str]:
    """The package's own modules that a module may import."""
    group, _, short = name.rpartition(".")
    members = {
        folder: {other for other in MODULES if other.startswith(f"{folder}.")} for folder in FOLDERS
    }
    leaves = {other for other in MODULES if "." not in other} - ASSEMBLERS | members["data"]
    if name == "":
        return {"recommender"}  # what the package offers by its own name, imported on demand
    if name in {"errors", *FOLDERS}:
        return set()
    if name == "vocab":
        return {"errors"}
    if name in ASSEMBLERS:
        return set(MODULES) - members["serving"]
    if group == "serving":
        return leaves | members["evaluation"] | members["serving"] | {"recommender"}
    if group in {"training", "evaluation"}:
        return leaves | members[group]
    allowed = FOUNDATION | NEIGHBOURS.get(name, set())
    if group == "data":
        later = DATA_CHAIN[DATA_CHAIN.index(short) :] if short in DATA_CHAIN else []
        allowed |= members["data"] - {f"data.{other}" for other in later}
    return allowed


@pytest.mark.parametrize("name", MODULES)
def test_imports_flow_one_way(name):
    uphill = imported_modules(name) - may_import(name)
    assert not uphill, f"{relative(SOURCES[name])} must not import {sorted(uphill)}"


def test_imports_make_no_circle():
    remaining = {name: imported_modules(name) for name in MODULES}
    while free := {name for name, needed in remaining.items() if not needed & remaining.keys()}:
        remaining = {name: needed for name, needed in remaining.items() if name not in free}
    assert not remaining, f"these modules import each other: {sorted(remaining)}"


@pytest.mark.parametrize("name", MODULES)
def test_each_library_stays_at_home(name):
    names = uses(MODULES[name], package_of(name))
    astray = {home for home, allowed in HOMES.items() if name not in allowed} & {
        home for home in HOMES if reaches(names, home)
    }
    assert not astray, f"{relative(SOURCES[name])} must not use {sorted(astray)}"


@pytest.mark.parametrize("path", OUTSIDE, ids=relative)
def test_configs_and_main_hold_no_machinery(path):
    banned = ["jax", "flax", "optax", "orbax", "numpy", "polars"]
    if path.parent.name == "configs":
        banned.append(PACKAGE)
    found = [library for library in banned if reaches(uses(path.read_text("utf-8")), library)]
    assert not found, f"{relative(path)} must not use {found}"


@pytest.mark.parametrize("path", [*SOURCES.values(), *OUTSIDE], ids=relative)
def test_modules_are_short_and_say_what_they_are(path):
    source = path.read_text("utf-8")
    if path.name == "__init__.py" and not source:
        return
    assert ast.get_docstring(ast.parse(source)), f"{relative(path)} has no docstring"
    lines = len(source.splitlines())
    assert lines <= LONGEST, f"{relative(path)} has {lines} lines: split it (at most {LONGEST})"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import jax\njax.sharding.Mesh(x)", "jax.sharding"),
        ("import jax.sharding as s", "jax.sharding"),
        ("from jax import sharding", "jax.sharding"),
        ("from jax.sharding import Mesh", "jax.sharding"),
        ("from jax import shard_map as f", "jax.shard_map"),
        ("def f():\n    import orbax.checkpoint as ocp", "orbax"),
        ("from . import loop", f"{PACKAGE}.training.loop"),
        ("from .loop import train", f"{PACKAGE}.training.loop"),
        ("from ..evaluation import ranking", f"{PACKAGE}.evaluation.ranking"),
        (f"from {PACKAGE}.evaluation.ranking import x", f"{PACKAGE}.evaluation.ranking"),
    ],
)
def test_the_check_sees_every_way_to_import(source, expected):
    assert reaches(uses(source, f"{PACKAGE}.training"), expected)


def test_the_check_takes_an_arrays_own_sharding_for_innocent():
    names = uses("import jax\n\ndef f(x):\n    return jax.jit(g, out_shardings=x.sharding)")
    assert not reaches(names, "jax.sharding")
