"""docs/configuration.md, made from configs/default.py and its comments.

python scripts/config_reference.py          # writes it
python scripts/config_reference.py --check  # says whether it is up to date: exit code 1 if not
"""

import argparse
import ast
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCE, PAGE = ROOT / "configs" / "default.py", ROOT / "docs" / "configuration.md"

_HEAD = """# Configuration

Every setting, its default and its meaning; made from `configs/default.py` by
`scripts/config_reference.py`. "Section" is the paper's, `.py`, `.sh` and `.json` names are files of
the original code. Any of them can be given on the command line as `--config.SETTING=VALUE`; the
other files of `configs/` hold only what differs, and `config.json` in a workdir has what a run was
made with.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    page = reference(SOURCE.read_text())
    if not options.check:
        PAGE.write_text(page)
    elif PAGE.read_text() != page:
        sys.exit(f"error: {PAGE} is not up to date; run scripts/config_reference.py")


def reference(source: str) -> str:
    """The page, from the text of a config file."""
    rows: dict[str, list[str]] = {}
    for setting, value, meaning in settings(source):
        section = setting.partition(".")[0] if "." in setting else ""
        cells = (f"`{setting}`", f"`{value}`", meaning.replace("|", "\\|"))
        rows.setdefault(section, []).append(f"| {' | '.join(cells)} |")
    lines = [_HEAD.rstrip()]
    for section, of_section in rows.items():
        lines += ["", f"## {section}"] if section else []
        lines += ["", "| setting | default | meaning |", "|---|---|---|", *of_section]
    return "\n".join(lines) + "\n"


def settings(source: str) -> list[tuple[str, str, str]]:
    """(setting, default, meaning) of each `config.x.y = value`, in order.

    The meaning is the comment on the line, or else the whole lines of comment before it.
    """
    lines, found = source.splitlines(), []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute)):
            continue
        value = ast.unparse(node.value)
        if "ConfigDict" in value:
            continue
        first, last = node.lineno - 1, node.end_lineno - 1
        meaning = lines[last][node.end_col_offset :].strip().removeprefix("#").strip()
        if not meaning:
            before = []
            while lines[first - 1].strip().startswith("#"):
                first -= 1
                before.insert(0, lines[first].strip().removeprefix("#").strip())
            meaning = " ".join(before)
        literal = ast.get_source_segment(source, node.value)
        found.append((ast.unparse(node.targets[0]).removeprefix("config."), literal, meaning))
    return found


if __name__ == "__main__":
    main()
