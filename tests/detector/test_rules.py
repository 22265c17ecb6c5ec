from __future__ import annotations

import pytest

from detector.labels import Level
from detector.playbook import PlaybookError, default_playbook, parse_playbook
from detector.rules import Rules, RulesError, check_rules, default_rules, parse_rules


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
    ],
)
def test_a_mistake_is_named_with_its_line(text, line, key):
    with pytest.raises(RulesError) as error:
        parse_rules(text)
    assert (error.value.line, error.value.key) == (line, key)


def test_every_mistake_is_found_at_once_and_what_is_right_counts():
    rules, mistakes = check_rules('[abuse]\nclear_scor = 1\nunclear_count = "x"\n[overlong]\nnotice_min = 15\n')
    assert [(item.line, item.key) for item in mistakes] == [(2, "abuse.clear_scor"), (3, "abuse.unclear_count")]
    assert "did you mean clear_score?" in str(mistakes[0])
    assert rules.overlong.notice_min == 15


def test_what_is_not_toml_is_named_with_its_line():
    with pytest.raises(RulesError) as error:
        parse_rules("version = 'x'\n[abuse\n")
    assert error.value.line == 2


def test_the_playbook_is_complete_and_a_hole_is_named():
    assert default_playbook().version
    with pytest.raises(PlaybookError, match=r"guideline\.verbal_abuse"):
        parse_playbook('version = "x"\n[guideline]\n[law]\n[supervisor]\n[operator]\n')
