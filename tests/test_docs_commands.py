"""What docs/ shows is true: every command of every page runs, in order, in a folder of its own.

The convention of the fenced blocks:

- ```console  Lines that begin with `$ ` are commands (a backslash at the end continues them), the
              lines below are what the command says, stdout and stderr together. A line `...`
              stands for any lines, `...` inside a line for any text; all else must be there, but
              for the number of spaces. The exit code must be 0, or what the page states next by
              `$ echo $?` and the code.
- ```console measured   The same where figures differ from machine to machine: each number, with
              the unit behind it, stands for any number.
- ```bash     Commands, one on a line, that must end with 0, whatever they say.
- ```python   A script that must run. With a first line `# file: NAME` it is that file instead.
- ```yaml     With `apiVersion` a budget or a target, which must be valid; a list is the
              `constraints:` of a budget; anything else must be YAML. `# file: NAME` as above.
- ```yaml refused   A budget or a target that must not be valid.
- ```text     and all others are only shown.

`python tests/doc_pages.py PAGE.md` prints what the commands of a page really say.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from cli_tools import ROOT
from doc_pages import DOCS, PAGES, Block, blocks, blocks_of, commands, file_of, play, said_as_shown

from hwn2n.budget.strict_yaml import parse_yaml
from hwn2n.budget.validate import validated
from hwn2n.errors import InputError

LANGUAGES = {"console", "bash", "python", "yaml", "text"}
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
WORDS = {"console": {"measured"}, "yaml": {"refused"}}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_says_what_happens(page, tmp_path, monkeypatch):
    if "onnx" in (DOCS / page).read_text():
        pytest.importorskip("onnxruntime")
    monkeypatch.setenv("HWN2N_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "page"
    folder.mkdir()
    for block, command, code, said in play(page, folder):
        where = f"docs/{page}:{block.line}: $ {command.text}\n{said}"
        assert code == command.code, where
        assert said_as_shown(said, command.shown, measured="measured" in block.words), where


def check_yaml(block: Block, folder: Path) -> None:
    """Raises InputError for a budget or target that is not valid; `folder` has the page's files."""
    data, text = yaml.safe_load(block.text), block.text
    if isinstance(data, list):
        rows = "".join(f"  {line}\n" for line in text.splitlines())
        text = f"apiVersion: hwn2n/v1\nname: rows\nconstraints:\n{rows}"
    elif "apiVersion" not in data:
        return
    validated(parse_yaml(text, name=f"line {block.line}"), folder)


@pytest.mark.parametrize("page", PAGES)
def test_yaml_is_valid(page, tmp_path):
    of_page = [block for block in blocks(page) if block.language == "yaml"]
    for block in of_page:
        if (name := file_of(block)) is not None:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(block.text)
    for block in of_page:
        if "refused" in block.words:
            with pytest.raises(InputError):
                check_yaml(block, tmp_path)
        else:
            check_yaml(block, tmp_path)


def test_workflows_give_the_action_inputs_that_it_has():
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    workflows = [
        yaml.safe_load(block.text)
        for page in PAGES
        for block in blocks(page)
        if (file_of(block) or "").startswith(".github/")
    ]
    steps = [s for w in workflows for job in w["jobs"].values() for s in job["steps"]]
    given = [step["with"] for step in steps if "/hwn2n@" in step.get("uses", "")]
    assert given
    for names in given:
        assert {"model", "budget"} <= set(names) <= set(inputs)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_of_a_known_kind(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{page}:{block.line}"
        assert set(block.words) <= WORDS.get(block.language, set()), f"{page}:{block.line}"


@pytest.mark.parametrize("path", [ROOT / "README.md", *(DOCS / page for page in PAGES)], ids=str)
def test_links_lead_somewhere(path):
    for link in _LINK.findall(path.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{path.name}: {link}"
        if anchor:
            headings = [anchor_of(title) for title in _HEADING.findall(target.read_text())]
            assert anchor in headings, f"{path.name}: {link}"


def anchor_of(title: str) -> str:
    """What a heading is called in links, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_every_page_is_reached_from_the_readme():
    reached: set[Path] = set()
    found = {ROOT / "README.md"}
    while found:
        page = found.pop()
        reached.add(page)
        named = (page.parent / link.partition("#")[0] for link in _LINK.findall(page.read_text()))
        linked = {path.resolve() for path in named if path.suffix == ".md" and path.is_file()}
        found |= linked - reached
    assert PAGES
    assert {(DOCS / page).resolve() for page in PAGES} <= reached


# --- the convention itself -------------------------------------------------------------------


def test_commands_have_their_output_and_code():
    text = "```console\n$ hwn2n a \\\n    --b\nsaid\n$ hwn2n c\nno\n$ echo $?\n2\n```\n"
    [block] = blocks_of(text)
    first, second = commands(block)
    assert (first.text, first.shown, first.code) == ("hwn2n a --b", ("said",), 0)
    assert (second.text, second.shown, second.code) == ("hwn2n c", ("no",), 2)


@pytest.mark.parametrize(
    ("said", "shown", "measured", "good"),
    [
        ("a  b\nc\n", ("a b", "c"), False, True),
        ("a\nb\nc\n", ("a", "...", "c"), False, True),
        ("a\nb\nc\n", ("a", "c"), False, False),
        ("x: 17 of 20\n", ("x: ... of 20",), False, True),
        ("x: 17 of 20\n", ("x: 18 of 20",), False, False),
        ("p50 1.25ms 99.1%\n", ("p50 980us 98%",), True, True),
        ("p90 1.25ms\n", ("p50 980us",), True, False),
        ("", (), True, True),
        ("more\n", (), True, False),
    ],
)
def test_what_is_said_and_what_is_shown(said, shown, measured, good):
    assert said_as_shown(said, shown, measured=measured) is good


def test_yaml_that_is_not_valid_is_noticed(tmp_path):
    check_yaml(Block("yaml", (), "- {metric: params, max: 1M}\n", 1), tmp_path)
    with pytest.raises(InputError, match="metric must be one of"):
        check_yaml(Block("yaml", (), "- {metric: parms, max: 1M}\n", 1), tmp_path)
