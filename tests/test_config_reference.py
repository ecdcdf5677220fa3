"""docs/configuration.md says what configs/default.py says."""

import pytest

from configs import default


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("config_reference")


def test_the_page_is_up_to_date(script):
    """If not: python scripts/config_reference.py."""
    assert script.PAGE.read_text() == script.reference(script.SOURCE.read_text())


def test_every_setting_is_there_with_its_default_and_a_meaning(script):
    found = script.settings(script.SOURCE.read_text())
    values = {name: eval(literal) for name, literal, _ in found}
    assert values == flat(default.get_config().to_dict())
    assert all(meaning for _, _, meaning in found)


def flat(tree, prefix=""):
    leaves = {}
    for name, value in tree.items():
        leaves |= (
            flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return leaves


def test_a_meaning_stands_on_the_line_or_before_it(script):
    source = "config.a = 1  # items\n# Of two\n# lines.\nconfig.b.c = 'x'\nconfig.d = 2\n"
    assert script.settings(source) == [
        ("a", "1", "items"),
        ("b.c", "'x'", "Of two lines."),
        ("d", "2", ""),
    ]
