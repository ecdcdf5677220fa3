import numpy as np
import polars as pl
import pytest

from bert4rec_jax.data.sequences import Cases
from bert4rec_jax.errors import UserError
from bert4rec_jax.evaluation.inputs import SeenItems
from bert4rec_jax.evaluation.negatives import (
    SAMPLED_PROTOCOLS,
    draw_negatives,
    read_negatives,
    write_negatives,
)
from tests import ranking_reference as reference

LOG = reference.random_log(np.random.default_rng(0), users=30, items=60, longest=25)
SEEN = SeenItems(LOG)
CASES = reference.last_items(LOG)


def draw(cases=CASES, *, protocol="popularity_100", seed=3, count=20, **options):
    return draw_negatives(LOG, SEEN, cases, protocol=protocol, seed=seed, count=count, **options)


@pytest.mark.parametrize("protocol", SAMPLED_PROTOCOLS)
def test_negatives_are_distinct_items_the_user_never_has(protocol):
    """Never: what comes after the true item is no negative either."""
    cases = Cases(CASES.users, np.ones_like(CASES.ends))
    for user, row in enumerate(draw(cases, protocol=protocol).tolist()):
        assert len(set(row)) == 20
        assert set(row) <= set(range(1, 61)) - set(LOG.history(user).tolist())


@pytest.mark.parametrize("protocol", SAMPLED_PROTOCOLS)
def test_negatives_do_not_depend_on_batch_order_or_company(protocol):
    whole = draw(protocol=protocol)
    for batch_size in (1, 7, 64):
        np.testing.assert_array_equal(draw(protocol=protocol, batch_size=batch_size), whole)
    some = np.random.default_rng(1).permutation(30)[:11]
    drawn = draw(Cases(CASES.users[some], CASES.ends[some]), protocol=protocol)
    np.testing.assert_array_equal(drawn, whole[some])


def test_negatives_depend_on_seed_protocol_and_user():
    whole = draw()
    assert (draw(seed=4) != whole).any(axis=1).all()
    assert (draw(protocol="uniform_100") != whole).any(axis=1).all()
    alike = reference.small_log([[1, 2]] * 20, items=60)
    drawn = draw_negatives(
        alike,
        SeenItems(alike),
        reference.last_items(alike),
        protocol="uniform_100",
        seed=0,
        count=20,
    )
    assert len(np.unique(drawn, axis=0)) == 20


def test_the_two_protocols_draw_apart_even_where_all_items_are_equally_popular():
    log = reference.small_log([[2 * u + 1, 2 * u + 2] for u in range(20)], items=40)
    seen, cases = SeenItems(log), reference.last_items(log)
    popular, uniform = (
        draw_negatives(log, seen, cases, protocol=protocol, seed=0, count=20)
        for protocol in SAMPLED_PROTOCOLS
    )
    assert (popular != uniform).any(axis=1).all()


def test_popular_items_are_drawn_in_proportion_and_uniformly_not():
    """One negative each for many users: item 1 has 3 of 4 rows among the unseen."""
    histories = [[1, 1, 1, 2]] + [[3, 4]] * 4000
    log = reference.small_log(histories, items=4)
    cases = Cases(np.arange(1, 4001, dtype=np.int32), np.ones(4000, np.int64))
    share = {
        protocol: (
            draw_negatives(log, SeenItems(log), cases, protocol=protocol, seed=0, count=1) == 1
        ).mean()
        for protocol in SAMPLED_PROTOCOLS
    }
    assert abs(share["popularity_100"] - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)
    assert abs(share["uniform_100"] - 0.5) < 4 * np.sqrt(0.25 / 4000)


def test_a_user_who_has_seen_too_much_is_named_with_both_numbers():
    log = reference.small_log([[1, 2], [1, 2, 3, 4, 5]], items=12)
    with pytest.raises(UserError, match=r"user u1: uniform_100 draws 8 items .* has only 7:"):
        draw_negatives(
            log,
            SeenItems(log),
            reference.last_items(log),
            protocol="uniform_100",
            seed=0,
            count=8,
        )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "negatives.parquet"
    drawn = {("test", protocol): (CASES, draw(protocol=protocol)) for protocol in SAMPLED_PROTOCOLS}
    write_negatives(path, LOG, drawn)
    return path


def read(path, **options):
    options = {"split": "test", "protocol": "popularity_100", "count": 20} | options
    return read_negatives(path, LOG, SEEN, CASES, **options)


def test_what_is_written_is_read_back(path):
    for protocol in SAMPLED_PROTOCOLS:
        np.testing.assert_array_equal(read(path, protocol=protocol), draw(protocol=protocol))
    assert [p.name for p in path.parent.iterdir()] == ["negatives.parquet"]


def test_the_file_tells_another_system_all_it_needs(path):
    table = pl.read_parquet(path)
    assert table.columns == ["split", "protocol", "user", "target", "negatives"]
    row = table.row(33, named=True)  # 30 users under popularity_100 come first
    assert (row["split"], row["protocol"], row["user"]) == ("test", "uniform_100", "u3")
    assert row["target"] == f"i{LOG.history(3)[-1]}"
    assert row["negatives"] == [f"i{i}" for i in draw(protocol="uniform_100")[3]]


def test_rows_may_come_in_any_order_and_users_may_be_more(path):
    table = pl.read_parquet(path)
    stranger = table.head(1).with_columns(user=pl.lit("someone else"))
    pl.concat([table.reverse(), stranger]).write_parquet(path)
    np.testing.assert_array_equal(read(path), draw())


def test_ids_may_be_numbers(tmp_path):
    """Another system's file: it knows the ids of the log as integers."""
    log = reference.small_log([[1, 2], [3, 1]], items=6)
    log = type(log)("small", log.items, log.offsets, ("10", "20"), type(log.vocab)(tuple("123456")))
    frame = {"user": [20, 10], "negatives": [[2, 6], [3, 5]]}
    frame |= {"split": ["test"] * 2, "protocol": ["uniform_100"] * 2}
    pl.DataFrame(frame).write_parquet(tmp_path / "theirs.parquet")
    cases = reference.last_items(log)
    options = {"split": "test", "protocol": "uniform_100", "count": 2}
    found = read_negatives(tmp_path / "theirs.parquet", log, SeenItems(log), cases, **options)
    assert found.tolist() == [[3, 5], [2, 6]]


def history_item(user):
    return f"i{LOG.history(user)[0]}"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop("negatives"), "no column negatives"),
        (lambda t: t.explode("negatives"), "column negatives must hold a list"),
        (lambda t: t.filter(pl.col("user") != "u7"), "user u7 has no negatives for test popular"),
        (lambda t: pl.concat([t, t.slice(4, 1)]), "user u4 has two rows for test popularity_100"),
        (lambda t: replace(t, 5, lambda row: row[:-1]), "user u5 does not have 20 negatives"),
        (lambda t: replace(t, 6, lambda row: [*row[1:], "no"]), "user u6 .* not in the catalogue"),
        (lambda t: replace(t, 6, lambda row: [*row[1:], None]), "user u6 .* not in the catalogue"),
        (lambda t: replace(t, 8, lambda row: [*row[1:], row[1]]), "user u8 .* same negative twice"),
        (
            lambda t: replace(t, 9, lambda row: [*row[1:], history_item(9)]),
            "user u9 .* own history",
        ),
    ],
)
def test_spoilt_files_are_refused_by_name(path, spoil, message):
    spoil(pl.read_parquet(path)).write_parquet(path)
    with pytest.raises(UserError, match=f"negatives.parquet: {message}"):
        read(path)


def replace(table, row, change):
    lists = table["negatives"].to_list()
    lists[row] = change(lists[row])
    return table.with_columns(pl.Series("negatives", lists))


def test_the_right_one_of_many_users_is_named(tmp_path):
    log = reference.small_log([[1, 2]] * 3000, items=4)
    frame = {"user": list(log.users), "negatives": [["i3", "i4"]] * 2500 + [["i3", "i2"]] * 500}
    frame |= {"split": ["test"] * 3000, "protocol": ["uniform_100"] * 3000}
    path = tmp_path / "many.parquet"
    pl.DataFrame(frame).write_parquet(path)
    options = {"split": "test", "protocol": "uniform_100", "count": 2}
    with pytest.raises(UserError, match=r"user u2500 has a negative from the user's own history"):
        read_negatives(path, log, SeenItems(log), reference.last_items(log), **options)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("user item\n")
    with pytest.raises(UserError, match=r"text.parquet: not a readable Parquet file"):
        read(tmp_path / "text.parquet")
