import re
from importlib import resources

from cifra_jobs.jobs.state import ARROWS
from cifra_jobs.store.base import Operation
from cifra_jobs.store.scripts import commit_script

LUA = resources.files("cifra_jobs.store") / "lua"


def test_the_script_knows_exactly_the_arrows_of_the_state_table() -> None:
    lines = re.findall(r"if state == '(\w+)' then return '([ \w]*)' end", commit_script().text)
    assert {state: set(targets.split()) for state, targets in lines} == {
        str(state): set(map(str, targets)) for state, targets in ARROWS.items()
    }


def test_every_file_of_the_script_is_part_of_it_and_says_what_goes_in() -> None:
    text = commit_script().text
    for path in LUA.iterdir():
        part = path.read_text("utf-8")
        assert part in text, path.name
        assert part.startswith("-- "), path.name
        is_verb = path.name not in {"begin.lua", "tell.lua", "apply.lua"}
        assert not is_verb or ("-- in:  " in part and "-- out: " in part), path.name


def test_there_is_a_verb_for_each_operation() -> None:
    verbs = re.findall(r"(\w+) = \1,", commit_script().text)
    assert len(verbs) == len(Operation.__args__)
