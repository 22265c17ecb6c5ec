"""The committed corpus keeps its rules, and the tools that make it do what they say."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from models.corpus import agreement, blind, build, hygiene
from models.corpus.passes import read_passes, unmark
from models.corpus.schema import FOLDER, LANGUAGES, SPLITS, Item, read_items, read_split, turns, write_items
from models.errors import CorpusError

ITEM = Item(
    id="ja-1",
    text="この無能が早く直せ",
    language="ja",
    speaker="customer",
    context=("agent: はい",),
    labels=("verbal_abuse",),
    cues=(),
    tags=("blunt",),
    spans=((2, 4),),
    group="JA01-01",
    persona="p",
    industry="i",
    region="r",
    writer="JA01",
)
NEUTRAL = replace(ITEM, id="ja-2", text="番号をもう一度お願いします", labels=(), spans=(), tags=("quoted",))


@pytest.fixture(scope="module")
def corpus() -> list[Item]:
    return [item for split in SPLITS for item in read_split(split)]


def test_no_two_items_are_nearly_the_same(corpus: list[Item]) -> None:
    assert hygiene.near_duplicates([item.text for item in corpus]) == []


def test_no_opening_is_stock(corpus: list[Item]) -> None:
    assert hygiene.stock_openings(corpus) == {}


def test_a_pass_and_its_writer_stay_in_one_split(corpus: list[Item]) -> None:
    seen: dict[str, set[str]] = {}
    for language in LANGUAGES:
        for split in SPLITS:
            for item in read_split(split, languages=[language]):
                assert build.split_of(item) == split
                seen.setdefault(item.group, set()).add(split)
    assert all(len(splits) == 1 for splits in seen.values())
    assert len({item.id for item in corpus}) == len(corpus)


def test_items_survive_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    write_items(path, [ITEM, NEUTRAL])
    assert list(read_items(path)) == [ITEM, NEUTRAL]


@pytest.mark.parametrize(
    "change",
    [{"text": " "}, {"labels": ["rude"]}, {"spans": []}, {"spans": [{"start": 3, "end": 99}]}, {"speaker": "unknown"}],
)
def test_a_broken_item_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "items.jsonl"
    write_items(path, [ITEM])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CorpusError, match=r"items\.jsonl:1"):
        list(read_items(path))


def test_marks_become_spans() -> None:
    assert unmark("a⟦bc⟧d⟦e⟧") == ("abcde", ((1, 3), (4, 5)))
    for bad in ("⟦a", "a⟧", "⟦a⟦b⟧⟧"):
        with pytest.raises(ValueError, match=r"⟦|⟧"):
            unmark(bad)


def test_passes_are_read_and_bad_lines_left_out(tmp_path: Path) -> None:
    lines = [
        '{"lang": "ja", "persona": "p", "industry": "i", "region": "r"}',
        "va,co | blunt | a: はい / c: ⟦壊れた⟧ | ⟦無能⟧が",
        "sh | - | | もう消えたいです",
        "va | | | 無能が",
        "xx | | | なに",
        "- | なに",
    ]
    (tmp_path / "JA01-01.txt").write_text("\n".join(lines))
    first, second = read_passes(tmp_path, speaker="customer")
    assert first.labels == ("verbal_abuse", "complaint")
    assert first.context == ("agent: はい", "customer: 壊れた")
    assert first.spans == ((0, 2),)
    assert (second.labels, second.cues) == ((), ("self_harm",))


def test_cleaning_drops_the_later_of_two_alike_and_spares_the_test_split() -> None:
    test = replace(ITEM, id="t", group="JT01-01", writer="JT01", text="昨日から三回も電話しているのに誰も出ない")
    train = replace(ITEM, id="a", text=test.text + "。")
    assert build.cleaned([train, test]) == [test]


def test_openings_are_limited() -> None:
    items = [replace(NEUTRAL, id=str(n), text=f"もう一度だけ{chr(0x4E00 + n) * 9}") for n in range(5)]
    assert len(build.cleaned(items)) == 3
    assert hygiene.stock_openings(items) == {("ja", "もう一度だけ"): 5}


def test_likeness_in_meaning() -> None:
    np = pytest.importorskip("numpy")
    rows = np.array([[1, 0], [0.99, 0.141], [0, 1]], dtype=np.float32)
    assert [(a, b) for a, b, _ in hygiene.alike(rows)] == [(0, 1)]


def test_blind_chunks_show_nothing_but_text_and_context(tmp_path: Path) -> None:
    items = [replace(ITEM, id=f"ja-{n}") for n in range(200)]
    written = blind.write_chunks(items, tmp_path)
    assert [path.name for path in written] == ["001.txt"]
    text = written[0].read_text()
    assert "verbal_abuse" not in text
    assert "blunt" not in text
    assert text.count("## ") == blind.CHUNK
    assert [path.name for path in blind.write_chunks(items, tmp_path, flush=True)] == ["002.txt"]
    assert blind.write_chunks(items, tmp_path, flush=True) == []


def test_kappa() -> None:
    assert agreement.kappa([True, True, False, False], [True, False, False, False]) == pytest.approx(0.5)
    assert agreement.kappa([True, False], [True, False]) == 1.0
    assert math.isnan(agreement.kappa([False], [False]))


def test_agreement_is_read_compared_and_listed(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("ja-1\tva,co\nja-2\t\nbad\tzz\n")
    second = agreement.read_second(tmp_path)
    assert second == {"ja-1": frozenset({"verbal_abuse", "complaint"}), "ja-2": frozenset()}
    rows = {row.label: row for row in agreement.compare([ITEM, NEUTRAL], second)}
    assert rows["verbal_abuse"].kappa == 1.0
    assert rows["complaint"].second == 1
    ((item, extra, missing),) = agreement.disagreements([ITEM, NEUTRAL], second)
    assert (item.id, extra, missing) == ("ja-1", [], ["complaint"])


def test_disputed_items_leave_training_but_not_the_test_split() -> None:
    second = {"ja-1": frozenset[str](), "t": frozenset[str]()}
    test = replace(ITEM, id="t", group="JT01-01", writer="JT01")
    assert build.settled([ITEM, NEUTRAL, test], second, {}) == [NEUTRAL, replace(test, disputed=("verbal_abuse",))]


def test_a_dispute_on_which_label_stands_is_marked_and_a_third_reading_settles_it() -> None:
    second = {"ja-1": frozenset({"threat"}), "ja-2": frozenset({"complaint"})}
    item, neutral = build.settled([ITEM, NEUTRAL], second, {})
    assert (item.disputed, neutral.disputed) == (("verbal_abuse", "threat"), ("complaint",))
    item, neutral = build.settled([ITEM, NEUTRAL], second, {"ja-1": frozenset(), "ja-2": frozenset({"threat"})})
    assert (item.labels, item.spans, item.disputed) == ((), (), ())
    assert (neutral.labels, neutral.spans) == (("threat",), ((0, len(NEUTRAL.text)),))


def test_turns_know_their_speakers() -> None:
    assert [turn.speaker for turn in turns(["agent: a", "Customer: b", "c"])] == ["agent", "customer", "unknown"]
    assert FOLDER.name == "corpus"
