from __future__ import annotations

import tomllib
from importlib import resources

import jsonschema_rs
import pytest

from detector.alerts import Kind
from detector.labels import HARASSMENT_LABELS, STEPS, Level
from detector.playbook import PlaybookError, check_playbook, default_playbook, parse_playbook
from detector.procedure import act_of
from detector.rules import Rules, RulesError, check_rules, default_rules, parse_rules
from detector.rules_schema import rules_schema


def test_the_bundled_file_says_what_the_code_defaults_to():
    bundled = default_rules()
    assert bundled.abuse == Rules().abuse
    assert bundled.repetition == Rules().repetition
    assert bundled.overlong == Rules().overlong
    assert bundled.distress == Rules().distress
    assert bundled.partials == Rules().partials
    assert bundled.monitoring == Rules().monitoring
    assert bundled.policy == Rules().policy


def test_a_queue_has_its_own_limits_and_the_rest_from_the_house():
    rules = parse_rules('version = "v"\n[overlong]\nwarning_min = 40\n[queues.vip.overlong]\nnotice_min = 35\n')
    assert rules.for_queue("vip").overlong.notice_min == 35
    assert rules.for_queue("vip").overlong.warning_min == 40
    assert rules.for_queue("other").overlong.notice_min == 20


def test_levels_can_be_changed():
    assert parse_rules('[abuse.levels]\nthreat = "notice"\n').abuse.levels["threat"] is Level.NOTICE


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("version = 5", 1, "version"),
        ("[abuse]\nclear_score = 2", 2, "abuse.clear_score"),
        ("[abuse]\n\nclear = 1", 3, "abuse.clear"),
        ('[abuse.levels]\nthreat = "loud"', 2, "abuse.levels.threat"),
        ('[abuse.levels]\nrudeness = "notice"', 2, "abuse.levels.rudeness"),
        ('[[combine]]\nwhen = { distress = "notice" }\nraises = "abuse"\nto = "warning"', 1, "combine"),
        ("[abuse]\nunclear_half_life_s = 0", 2, "abuse.unclear_half_life_s"),
        ("[partials]\nlabels = [{}]", 2, "partials.labels"),
        ("[overlong]\nnotice_min = 40", 2, "overlong.notice_min"),
        ("[repetition]\nnotice = 1.5", 2, "repetition.notice"),
        ("[queues.a.abuse]\nclear_score = -1", 2, "queues.a.abuse.clear_score"),
        ("[queues]\na = 3", 2, "queues.a"),
        ("abuse = 3", 1, "abuse"),
        ('[partials]\nlabels = ["fun"]', 2, "partials.labels"),
        ("queues = 3", 1, "queues"),
        ("[abuse]\nlevels = 3", 2, "abuse.levels"),
        ("combine = 3", 1, "combine"),
        ('[[combine]]\nwhen = { abuse = "notice" }\nraises = "abuse"', 1, "combine"),
        ('[[combine]]\nwhen = { abuse = "notice" }\nraises = "distress"\nto = "warning"', 1, "combine"),
        ('[[combine]]\nwhen = { abuse = "notice" }\nraises = "abuse"\nto = "loud"', 1, "combine"),
        ("[repetition]\nnotice = 1", 2, "repetition.notice"),
        ("[repetition]\nsimilarity = 0.5\nsimilarity_said_again = 0.9", 3, "repetition.similarity_said_again"),
        ("[abuse]\nunclear_count = 0\nunclear_weight = 0", 2, "abuse.unclear_count"),
        ("[abuse]\nunclear_weight = 99", 2, "abuse.unclear_weight"),
    ],
)
def test_a_mistake_is_named_with_its_line(text, line, key):
    with pytest.raises(RulesError) as error:
        parse_rules(text)
    assert (error.value.line, error.value.key) == (line, key)


def test_a_file_that_is_too_long_is_not_read():
    rules, mistakes = check_rules("#" * 1_000_001)
    assert rules.abuse == default_rules().abuse
    assert "characters" in str(mistakes[0])


def test_every_mistake_is_found_at_once_and_what_is_right_counts():
    rules, mistakes = check_rules('[abuse]\nclear_scor = 1\nunclear_count = "x"\n[overlong]\nnotice_min = 15\n')
    assert [(item.line, item.key) for item in mistakes] == [(2, "abuse.clear_scor"), (3, "abuse.unclear_count")]
    assert "did you mean clear_score?" in str(mistakes[0])
    assert rules.overlong.notice_min == 15


def test_what_is_not_toml_is_named_with_its_line():
    with pytest.raises(RulesError) as error:
        parse_rules("version = 'x'\n[abuse\n")
    assert error.value.line == 2


def test_every_label_has_words_for_every_level_it_can_reach_and_for_every_step():
    playbook = default_playbook()
    for label in HARASSMENT_LABELS:
        default = default_rules().abuse.levels[label]
        for level in (Level.WARNING, Level.ESCALATE):
            if level >= default:
                assert (label, level.value) in playbook.situations, (label, level)
        for step in ("caution", "first_warning"):
            assert (label, step) in playbook.phrases, (label, step)
    for label in ("threat", "intrusion"):
        assert (label, "critical") in playbook.situations


def test_the_operators_phrases_are_recognised_as_the_steps_that_they_are():
    playbook = default_playbook()
    for (topic, step), phrase in playbook.phrases.items():
        if step == "first_warning":
            assert act_of(phrase.ja, "ja", {}) == step, (topic, phrase.ja)
            assert act_of(phrase.en, "en", {}) == step, (topic, phrase.en)
    for step in STEPS:
        assert act_of(playbook.operator[step].ja, "ja", {}) == step
        assert act_of(playbook.operator[step].en, "en", {}) == step


@pytest.mark.parametrize(
    ("level", "label", "step", "words"),
    [
        (Level.WARNING, "sexual", "", "first warning"),
        (Level.CRITICAL, "threat", "", "police"),
        (Level.ESCALATE, "intrusion", "first_warning", "address"),
    ],
)
def test_the_suggestion_is_the_labels_own(level, label, step, words):
    found = default_playbook().suggest(kind=Kind.ABUSE, level=level, labels=(label,), step=step, cause="")
    assert words in found.supervisor.en


def test_a_playbook_entry_of_an_unknown_step_is_named():
    text = resources.files("detector").joinpath("playbook.toml").read_text(encoding="utf-8")
    with pytest.raises(PlaybookError, match=r"phrase\.threat\.shout: expected one of caution"):
        parse_playbook(text.replace("[phrase.threat]\n", '[phrase.threat]\nshout = { ja = "x", en = "x" }\n'))


def test_the_playbook_is_complete_and_a_hole_is_named():
    assert default_playbook().version
    with pytest.raises(PlaybookError, match=r"guideline\.verbal_abuse"):
        parse_playbook('version = "x"\n[guideline]\n[law]\n[supervisor]\n[operator]\n')


def test_every_mistake_in_a_playbook_is_named_with_its_line():
    text = resources.files("detector").joinpath("playbook.toml").read_text(encoding="utf-8")
    lines = text.splitlines()
    place = lines.index("[guideline.threat]") + 2
    lines[place] = "ja = 3"
    lines += ["[guidelines.threat]", 'ja = "x"', "[operator.shout]", 'ja = "x"', 'en = "x"']
    _, mistakes = check_playbook("\n".join(lines))
    assert [(item.line, item.key) for item in mistakes] == [
        (place + 1, "guideline.threat.ja"),
        (len(lines) - 4, "guidelines"),
        (len(lines) - 2, "operator.shout"),
    ]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("[law", {""}),
        ("version = 'x'\nlaw = 3", {"law"}),
        ("version = 'x'\n[law]\nthreat = ['x', 3]", {"law.threat"}),
        ("version = 'x'\n[situation.weather]\nnotice = 3", {"situation.weather"}),
        ("version = 'x'\n[situation.threat.loud]\nja = 'x'\nen = 'x'", {"situation.threat.loud"}),
        ("version = 'x'\nsituation = 3", {"situation"}),
    ],
)
def test_what_is_wrong_with_a_playbook_is_said(text, keys):
    _, mistakes = check_playbook(text)
    assert keys <= {item.key for item in mistakes}


def test_the_schema_takes_what_the_reader_takes():
    schema = jsonschema_rs.Draft202012Validator(rules_schema())
    for text in (
        resources.files("detector").joinpath("rules.toml").read_text(encoding="utf-8"),
        '[queues.vip.overlong]\nnotice_min = 25\n[[combine]]\nwhen = { overlong = "notice" }\nraises = "abuse"\nto = "warning"\n',
    ):
        assert list(schema.iter_errors(tomllib.loads(text))) == []
        assert check_rules(text)[1] == []


@pytest.mark.parametrize(
    "text",
    [
        "version = 5",
        "[abuse]\nclear = 1",
        '[abuse.levels]\nthreat = "loud"',
        '[abuse.levels]\nrudeness = "notice"',
        '[[combine]]\nwhen = { distress = "notice" }\nraises = "abuse"\nto = "warning"',
        "[repetition]\nnotice = 1.5",
        "[queues.a.abuse]\nclear_score = -1",
        '[queues.a]\nversion = "x"',
        '[partials]\nlabels = ["fun"]',
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(text):
    assert not jsonschema_rs.Draft202012Validator(rules_schema()).is_valid(tomllib.loads(text))
    assert check_rules(text)[1]
