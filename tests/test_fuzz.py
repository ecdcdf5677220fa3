"""Whatever a file holds and whatever a setting is set to: UserError or success, nothing else."""

import gzip
import io

import polars as pl
import pytest
from absl import flags
from hypothesis import example, given
from hypothesis import strategies as st
from ml_collections import config_flags

from bert4rec_jax import cli, settings
from bert4rec_jax.data import catalogue, interactions
from bert4rec_jax.errors import UserError
from configs import default

TABLE = pl.DataFrame({"user": ["u", "v", "u"] * 9, "item": [*"abc"] * 9, "time": [3, 1, 2] * 9})


def written(write, **options) -> bytes:
    file = io.BytesIO()
    write(file, **options)
    return file.getvalue()


CSV = written(TABLE.write_csv)
VALID = {
    "log.csv": CSV,
    "log.tsv": CSV.replace(b",", b"\t"),
    "log.txt": b"u a\nv b\nu c\n" * 3,
    "log.dat": b"1::2::5::3\n2::3::4::1\n" * 3,
    "log.inter": b"user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\nv\tb\t2.5\n",
    "log.csv.gz": gzip.compress(CSV, mtime=0),
    "log.csv.zst": written(TABLE.write_csv, compression="zstd"),
    "log.parquet": written(TABLE.write_parquet),
}


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """`content` with a few bytes changed, cut out, put in, or all of it after some place lost."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["flip", "insert", "remove", "cut"]))
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=8))
        elif kind == "remove":
            del data[at : at + draw(st.integers(1, 8))]
        elif kind == "cut":
            del data[at:]
    return bytes(data)


def refusal(function) -> str | None:
    """The message of a UserError, None for success; any other exception fails the test."""
    try:
        function()
    except UserError as error:
        return str(error)
    return None


def assert_refused_or_read(read, path, content: bytes) -> None:
    path.write_bytes(content)
    line = refusal(lambda: read(path))
    assert line is None or (str(path) in line and "\n" not in line)


@pytest.mark.parametrize("name", VALID)
def test_a_log_of_any_bytes(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("fuzz") / name

    @given(st.one_of(damaged(VALID[name]), st.binary(max_size=80)))
    @example(VALID[name])
    def check(content):
        assert_refused_or_read(interactions.read, path, content)

    check()


def test_a_catalogue_of_any_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "items.parquet"
    whole = pl.DataFrame({"item": ["a", "b"], "rows": [2, 1], "retired": [False, True]})

    @given(st.one_of(damaged(written(whole.write_parquet)), st.binary(max_size=80)))
    def check(content):
        assert_refused_or_read(catalogue.read_catalogue, path, content)

    check()


NAMES = [f"{section}.{key}" for section, keys in default.get_config().items()
         if hasattr(keys, "items") for key in keys]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(["", "-1", "0", "nan", "inf", "-inf", "1e400", "None", "()", "(1,)", "('a',)",
                     "(1.5,)", "[[1]]", "{}", "True", str(2**31), str(10**40), "ü", "a\nb"]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
)  # fmt: skip


# ml_collections loads a config file in a way that Python will give up.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@given(st.lists(st.tuples(st.sampled_from([*NAMES, "seed", "no.such"]), VALUES), max_size=3))
def test_settings_of_any_value(overrides):
    argv = ["main.py", *(f"--config.{name}={value}" for name, value in overrides)]
    values = flags.FlagValues()

    def define():
        config_flags.DEFINE_config_file(
            "config", default.__file__, flag_values=values, sys_argv=argv
        )

    line = refusal(
        lambda: settings.check(cli.chosen_config(cli.parse(argv, define, values)["config"]))
    )
    assert line != ""
