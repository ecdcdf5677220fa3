"""Any log, a folder of Parquet files or a table of histories, as rows that are read bit by bit."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import polars as pl

from bert4rec_jax.data import interactions
from bert4rec_jax.data.columns import find_columns, parquet_columns, somebodys
from bert4rec_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class LazyLog:
    """A log that need not fit in memory.

    Attributes:
        path: of the log, for messages.
        rows: place (of the row in the log), user, item and, where the log has it, time, in the
            order of the log; ids as they are stored. With `lists` a row is a user, and item the
            list of their items, oldest first.
        count: of rows.
        lists: whether it is a table of histories.
    """

    path: Path
    rows: pl.LazyFrame
    count: int
    lists: bool

    def batches(self, rows: pl.LazyFrame, size: int) -> Iterator[pl.DataFrame]:
        """Some rows at a time of a frame made of `rows`, its place included, in order.

        Raises:
            UserError: a field has no value; names the row.
        """
        for frame in rows.collect_batches(chunk_size=size, maintain_order=True):
            for name in frame.columns:
                if frame[name].null_count():
                    self.refuse(frame["place"][frame[name].is_null().arg_max()], f"has no {name}")
            yield frame

    def refuse(self, place: int, what: str) -> NoReturn:
        raise UserError(f"{self.path}, row {place + 1}: {what}; mend or remove it")


def open_log(
    path: str | Path, scratch: Path, *, user_column: str, item_column: str, time_column: str
) -> LazyLog:
    """Finds out what a log is; reads it only where it is text.

    Args:
        path: a file of any format that `interactions.read` reads; a Parquet file, or a folder of
            them (in the order of their names), of interactions or of histories: then the item
            column holds a list.
        scratch: a folder; text is written into it as Parquet, since it is read several times.
        user_column, item_column, time_column: as for `interactions.read`.

    Raises:
        UserError: as `interactions.read`; or the folder has no Parquet files.
    """
    path = Path(path)
    wanted = {"user": user_column, "item": item_column, "time": time_column}
    if path.is_dir():
        files = _parquet_files(path)
    else:
        interactions.check_file(path)
        files = [path] if interactions.is_parquet(path) else []
    if not files:
        rows = _text_as_parquet(path, wanted, scratch / "log.parquet")
        return LazyLog(path, rows.with_row_index("place"), _count(rows), lists=False)
    scan = pl.scan_parquet(
        files,
        glob=False,
        hive_partitioning=False,
        extra_columns="ignore",  # files of later days often have more, or wider, columns
        cast_options=pl.ScanCastOptions(integer_cast="upcast", float_cast="upcast"),
    )
    schema = scan.collect_schema()
    ids = find_columns(path, tuple(schema.names()), {**wanted, "time": ""})
    lists = isinstance(schema[ids["item"]], pl.List)
    if lists and time_column:
        raise UserError(
            f"{path}: a list of items is in the order of time already; leave out data.time_column"
        )
    if lists:
        columns = {
            role: somebodys(pl.col(ids[role]), schema[ids[role]]) for role in ("user", "item")
        }
    else:
        columns = parquet_columns(path, schema, wanted)
    rows = scan.select(**columns).with_row_index("place")
    for role, kind in rows.collect_schema().items():
        inner = kind.inner if isinstance(kind, pl.List) else kind
        if role in ("user", "item") and not (inner.is_integer() or inner == pl.String):
            whole = pl.List(pl.String) if isinstance(kind, pl.List) else pl.String
            rows = rows.with_columns(pl.col(role).cast(whole))
    return LazyLog(path, rows, _count(scan), lists)


def _parquet_files(folder: Path) -> list[Path]:
    """Those of a folder and the folders in it, as Spark and BigQuery write them."""
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in (".parquet", ".pq") and file.is_file()
        # Hidden files and _temporary are left by writers that did not come to their end.
        if not any(part[0] in "._" for part in file.relative_to(folder).parts)
    ]
    if not files:
        raise UserError(f"{folder}: holds no Parquet files (names ending in .parquet)")
    return files


def _text_as_parquet(path: Path, wanted: dict[str, str], target: Path) -> pl.LazyFrame:
    strings, name_malformed_row = interactions.scan_text(path, wanted)
    names = strings.collect_schema().names()
    try:
        strings.sink_parquet(target, compression="lz4", optimizations=interactions.WHOLE_ROWS)
        raw = pl.scan_parquet(target)
        rows = raw
        if "time" in names:
            rows = raw.with_columns(time=_number(raw))
        nulls = rows.select(pl.all().null_count()).collect()
    except pl.exceptions.PolarsError:
        name_malformed_row()
        raise
    if sum(nulls.row(0)):
        name_malformed_row()
        rows = rows.drop_nulls()  # no row is malformed: these were blank lines
    return rows


def _number(raw: pl.LazyFrame) -> pl.Expr:
    """The column time as `interactions.read` would parse it: integers stay exact."""
    integer = pl.col("time").cast(pl.Int64, strict=False)
    lost = raw.select((integer.is_null() & pl.col("time").is_not_null()).any()).collect().item()
    if not lost:
        return integer
    number = pl.col("time").cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def _count(rows: pl.LazyFrame) -> int:
    return rows.select(pl.len()).collect().item()
