"""Which column of a log holds the user, which the item and which the time."""

import re
from pathlib import Path

import polars as pl

from bert4rec_jax.errors import UserError

# What a column may be called when no setting names it, in order of preference; letters and
# digits only, lower case. The names of the public sets: MovieLens, Amazon, RecBole, Yelp, Last.fm.
KNOWN_NAMES = {
    "user": ("user", "userid", "uid", "customerid", "reviewerid", "visitorid", "sessionid"),
    "item": (
        *("item", "itemid", "iid", "movieid", "productid", "parentasin", "asin"),
        *("bookid", "gameid", "businessid", "trackid", "songid", "artistid"),
        *("items", "itemids", "history", "sequence"),  # of tables with a list of items in a row
    ),
    "time": ("time", "timestamp", "unixreviewtime", "unixtime", "ts"),
}


def known(name: str, role: str) -> bool:
    """Whether a column of that name is usually the user, item or time."""
    return re.sub(r"[^a-z0-9]", "", name.lower()) in KNOWN_NAMES[role]


def find_columns(path: Path, columns: tuple[str, ...], wanted: dict[str, str]) -> dict[str, str]:
    """Role -> name of its column. The time may be absent, unless a setting names it."""
    found = {}
    for role, name in wanted.items():
        plain = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in reversed(columns)}
        guesses = [plain[known] for known in KNOWN_NAMES[role] if known in plain]
        if name and name in columns:
            found[role] = name
        elif guesses and not name:
            found[role] = guesses[0]
        elif name or role != "time":
            missing = f"no column {name!r}" if name else f"no {role} column"
            names = ", ".join(column for column in columns if column)
            raise UserError(f"{path}: {missing} among {names}; set data.{role}_column to one")
    return found


def somebodys(ids: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """`ids`, of this type, with null for what is nobody's: NaN, and a text of no letters."""
    if isinstance(kind, pl.List):
        return ids.list.eval(somebodys(pl.element(), kind.inner))
    if kind.is_float():
        return ids.fill_nan(None)
    return pl.when(ids != "").then(ids) if kind == pl.String else ids


def parquet_columns(path: Path, schema: pl.Schema, wanted: dict[str, str]) -> dict[str, pl.Expr]:
    """Role -> its column, the ids as they are stored, the time as a number."""
    found = find_columns(path, tuple(schema.names()), wanted)
    columns = {
        role: somebodys(pl.col(found[role]), schema[found[role]]) for role in ("user", "item")
    }
    if "time" not in found:
        return columns
    time, kind = pl.col(found["time"]), schema[found["time"]]
    if kind in (pl.Date, pl.Datetime):
        time = time.dt.epoch("us")
    elif kind.is_integer():
        time = time.cast(pl.Int64)
    elif kind.is_numeric():
        time = time.cast(pl.Float64)
        time = pl.when(time.is_finite()).then(time)
    else:
        raise UserError(
            f"{path}: the time column {found['time']!r} holds {kind}; "
            "store numbers, dates or datetimes"
        )
    return columns | {"time": time}
