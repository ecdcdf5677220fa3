"""What a search of the catalogue finds, and in which order."""

import numpy as np
import pytest

from bert4rec_jax.serving.titles import Titles
from bert4rec_jax.vocab import Vocabulary

TITLES = {
    "10": "The Heat of the Night",
    "20": "Heat",
    "3": "Amélie (2001)",
    "heat": None,
    "5": "Cheaters",
    "6": 'a.* "quoted" (odd',
}


@pytest.fixture(scope="module")
def titles():
    return Titles(Vocabulary(tuple(TITLES)), {**TITLES, "not there": "Heat"})


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        # The item called so, then a title's beginning, a word's beginning, and the middle of one.
        ("heat", ["heat", "20", "10", "5"]),
        ("hea", ["20", "10", "heat", "5"]),
        ("night HEAT", ["10"]),
        ("AMELIE", ["3"]),
        ("amélie 2001", ["3"]),
        (".*", ["6"]),
        ('"quoted" (', ["6"]),
        ("nothing", []),
        ("", ["10", "20", "3", "heat", "5", "6"]),
        ("  ", ["10", "20", "3", "heat", "5", "6"]),
        ("20", ["20", "3"]),
    ],
)
def test_search(titles, words, wanted):
    found = [list(TITLES)[index] for index in titles.search(words, limit=10)]
    assert found == wanted


def test_the_frequent_come_first_also_where_they_stand_last_in_the_catalogue():
    titles = Titles(Vocabulary(("a1", "a2", "a3")), {}, np.array([2, 0, 1]))
    assert titles.search("", limit=2) == [2, 0]
    assert titles.search("a", limit=3) == [2, 0, 1]


def test_no_more_than_asked_for(titles):
    assert titles.search("", limit=2) == [0, 1]


def test_items_without_titles_are_found_by_id():
    titles = Titles(Vocabulary(("x1", "x2")), {})
    assert titles.search("X2", limit=5) == [1]
    assert titles.of(1) is None
