"""Any log file -> a polars frame of interactions, one row each, in the order of the file.

Formats, found by the file's name and its first line; all may end in `.gz` or `.zst`:

    user item                  text in time order, one space or tab between, no header
    user::item::rating::time   GroupLens' ratings.dat
    CSV, TSV                   with a header that names the columns
    RecBole `.inter`           tabs, a header of name:type
    Parquet                    (which compresses itself)

Polars reads, and decompresses, all of them, so no compression library is needed here.
Every row is one implicit interaction (paper, section 4.1): ratings are not read, and rows that
repeat a user and an item are kept.
"""

import csv
import dataclasses
import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl

from bert4rec_jax.data import panics
from bert4rec_jax.data.columns import find_columns, known, parquet_columns, somebodys
from bert4rec_jax.data.ids import compact
from bert4rec_jax.errors import UserError, first_line
from bert4rec_jax.vocab import Vocabulary

FORMATS = "`user item` text, GroupLens `::`, CSV or TSV with a header, RecBole .inter, Parquet"

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_RECBOLE_FIELD = re.compile(r"\S+:(token|float)(_seq)?")
# What the readers raise where a file's bytes are not what its name or first line promises.
_UNREADABLE = (
    pl.exceptions.PolarsError,
    csv.Error,
    OSError,
    ValueError,
)
_MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How the lines of a text log are cut: one name for each field."""

    separator: str
    columns: tuple[str, ...]
    header: bool
    quote: str | None = None


def read(
    path: str | Path,
    *,
    user_column: str = "",
    item_column: str = "",
    time_column: str = "",
    vocab: Vocabulary | None = None,
) -> pl.DataFrame:
    """Reads a log.

    Args:
        path: the file.
        user_column, item_column, time_column: names in the file's header; "" looks for the usual
            ones. Without a time column the rows are taken to be in time order already.
        vocab: a catalogue whose ids stand for the items, a sixth of the memory for a large log.

    Returns:
        user (String), item (String), time (Int64 or Float64; all null without a time column),
        in file order; with `vocab` user (Categorical) and item (UInt32, PAD where `vocab` has not
        the item) instead. A date or datetime of a Parquet file becomes microseconds since 1970.

    Raises:
        UserError: the file is missing, empty, damaged, of no known format, lacks a column, or has
            a malformed row (which is named).
    """
    path = Path(path)
    check_file(path)
    wanted = {"user": user_column, "item": item_column, "time": time_column}
    try:
        with panics.as_errors():
            frame = (_read_parquet if is_parquet(path) else _read_text)(path, wanted, vocab)
    except UserError:
        raise
    except _UNREADABLE as error:
        reason = first_line(error)
        raise UserError(f"{path}: cannot be read ({reason}); is the file damaged?") from error
    if frame.is_empty():
        raise UserError(f"{path}: holds no interactions; give a file with at least one row")
    return frame


def check_file(path: Path) -> None:
    """UserError where it is plain without reading it that this is no log."""
    if path.is_dir():
        raise UserError(
            f"{path}: is a folder: give a file, or train on what --mode=prepare makes of its "
            "Parquet files"
        )
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise UserError(f"{path}: {what}; name a log file ({FORMATS})")
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise UserError(f"{path}: is empty; give a file with at least one row")
    if start == b"PK\x03\x04":
        raise UserError(f"{path}: is a zip archive; unpack it and name the log inside")
    magic = _MAGIC.get(path.suffix.lower())
    if magic and not start.startswith(magic):
        raise UserError(f"{path}: is not {path.suffix} data, as its name says; is it damaged?")


def is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1" or path.suffix.lower() in (".parquet", ".pq")


# Text


def scan_text(path: Path, wanted: dict[str, str]) -> tuple[pl.LazyFrame, Callable[[], None]]:
    """The fields that are wanted, as text, and what raises UserError for the first malformed row.

    To be collected with WHOLE_ROWS.
    """
    layout = _find_layout(path)
    found = find_columns(path, layout.columns, wanted)
    # Fields are read by position: a header may repeat a name that nobody asks for.
    fields = [f"column_{i}" for i in range(len(layout.columns))]
    scan = pl.scan_csv(
        path,
        separator=layout.separator,
        quote_char=layout.quote,
        has_header=False,
        skip_lines=int(layout.header),
        schema=dict.fromkeys(fields, pl.String),
        missing_columns="insert",  # else a first row without its last, unread fields is an error
        raise_if_empty=False,
        glob=False,
    )
    place = {role: pl.col(fields[layout.columns.index(name)]) for role, name in found.items()}
    # A quoted field with nothing in it is no value either.
    strings = scan.select(**{role: somebodys(column, pl.String) for role, column in place.items()})
    return strings, lambda: _name_malformed_row(path, layout, found)


# Every field is read, since a field that is skipped can hide one too many; the streaming engine
# then keeps the memory to the columns that are wanted.
WHOLE_ROWS = pl.QueryOptFlags(projection_pushdown=False)


def _read_text(path: Path, wanted: dict[str, str], vocab: Vocabulary | None) -> pl.DataFrame:
    strings, name_malformed_row = scan_text(path, wanted)
    found = strings.collect_schema().names()
    if vocab:
        strings = strings.with_columns(*compact(vocab))
    try:
        frame = _as_interactions(strings.collect(engine="streaming", optimizations=WHOLE_ROWS))
    except pl.exceptions.PolarsError:
        name_malformed_row()
        raise
    if sum(frame.select(found).null_count().row(0)):
        name_malformed_row()
        frame = frame.drop_nulls(found)  # no row is malformed: these were blank lines
    return frame


def _find_layout(path: Path) -> _Layout:
    line = _line_of_names(path)
    suffix = next((s for s in reversed(path.suffixes) if s.lower() not in _MAGIC), "").lower()
    words = line.split()
    if line[0] in "{[":
        raise _unknown_format(path, line)  # JSON, whose keys could pass for a header
    if suffix == ".inter" or all(_RECBOLE_FIELD.fullmatch(word) for word in words):
        names = tuple(field.split(":")[0].strip() for field in line.split("\t"))
        return _Layout("\t", names, header=True)
    if suffix not in (".csv", ".tsv") and line.count("::") == 3:
        # The separator must be one byte; "a::b" cut at each ":" has an empty field between.
        return _Layout(":", ("user", "", "item", "", "rating", "", "time"), header=False)
    separators = {".csv": ",", ".tsv": "\t"}.get(suffix, "\t, ")
    headers = [(separator, _names(line, separator)) for separator in separators]
    for separator, names in headers:
        has_header = all(any(known(name, role) for name in names) for role in ("user", "item"))
        if len(headers) == 1 or has_header:
            return _Layout(separator, names, header=True, quote='"')
    if len(words) == 2:
        return _Layout("\t" if "\t" in line else " ", ("user", "item"), header=False)
    for separator, names in headers[:2]:  # a header whose names are not among the usual ones
        if len(names) > 1:
            return _Layout(separator, names, header=True, quote='"')
    raise _unknown_format(path, line)


def _names(line: str, separator: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in next(csv.reader([line], delimiter=separator)))


def _unknown_format(path: Path, line: str) -> UserError:
    return UserError(f"{path}: unknown format, line 1 is {line[:60]!r}; known formats: {FORMATS}")


def _line_of_names(path: Path) -> str:
    lines = pl.scan_lines(path, n_rows=1, glob=False).collect()["line"]
    line = lines[0].strip("\ufeff\r") if len(lines) else ""
    if not line.strip():
        raise UserError(f"{path}: line 1 is blank; the file must begin with its header or a row")
    return line


def _as_interactions(strings: pl.DataFrame) -> pl.DataFrame:
    """Parses the time, null where it is no number; integers stay exact."""
    if "time" not in strings.columns:
        return strings.with_columns(time=pl.lit(None, pl.Int64))
    raw = strings["time"]
    time = raw.cast(pl.Int64, strict=False)
    if time.null_count() > raw.null_count():
        time = raw.cast(pl.Float64, strict=False)
        time = time.set(~time.is_finite(), None)
    return strings.with_columns(time=time)


def _name_malformed_row(path: Path, layout: _Layout, found: dict[str, str]) -> None:
    """Raises UserError for the first malformed row; returns where there is none.

    A second and slow reading, which only a file with a fault pays for, since polars does not say
    where it met one.
    """
    batches = pl.scan_lines(path, glob=False).collect_batches()
    lines = itertools.chain.from_iterable(batch["line"] for batch in batches)
    quoting = csv.QUOTE_MINIMAL if layout.quote else csv.QUOTE_NONE
    rows = csv.reader(lines, delimiter=layout.separator, quoting=quoting)
    place = {role: layout.columns.index(name) for role, name in found.items()}
    shape = layout.separator.join(layout.columns)
    number = 1  # of the line on which the row begins: quoted fields may go on for several
    try:
        for row in rows:
            skipped = not row or (number == 1 and layout.header)
            if not skipped and len(row) > len(layout.columns):
                what = f"has {len(row)} fields where {len(layout.columns)} are expected"
                raise UserError(f"{path}, line {number}: {what} ({shape}); mend or remove it")
            for role, i in place.items() if not skipped else ():
                if i >= len(row) or not row[i]:
                    raise UserError(
                        f"{path}, line {number}: has no {role} ({shape}); mend or remove it"
                    )
                if role == "time" and not _is_number(row[i]):
                    raise UserError(
                        f"{path}, line {number}: the time {row[i][:40]!r} is not a number; "
                        "times are numbers, such as seconds since 1970"
                    )
            number = rows.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {number}: {error}; mend or remove it") from error


def _is_number(text: str) -> bool:
    """As Polars sees it: no infinity, and no digits but ASCII's."""
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))


# Parquet


def _read_parquet(path: Path, wanted: dict[str, str], vocab: Vocabulary | None) -> pl.DataFrame:
    scan = pl.scan_parquet(path, glob=False)
    schema = scan.collect_schema()
    columns = parquet_columns(path, schema, wanted)
    if isinstance(schema[columns["item"].meta.output_name()], pl.List):
        raise UserError(
            f"{path}: holds a list of items in a row: give one with a row an interaction, or train "
            "on what --mode=prepare makes of it"
        )
    ids = {role: columns[role].cast(pl.String) for role in ("user", "item")}
    time = columns.get("time", pl.lit(None, pl.Int64))
    smaller = compact(vocab) if vocab else []
    frame = scan.select(**ids, time=time).with_columns(*smaller).collect(engine="streaming")
    for role, column in columns.items():
        empty = frame[role].is_null().arg_max()
        if empty is not None and frame[role].null_count():
            name = column.meta.root_names()[0]
            raise UserError(f"{path}, row {empty + 1}: column {name!r} has no value; remove it")
    return frame
