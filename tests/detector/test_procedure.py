from __future__ import annotations

import pytest

from detector.procedure import act_of, advance, next_step
from detector.text import announces_hold, apologises, is_backchannel, is_question, mostly_digits, says_again


@pytest.mark.parametrize(
    ("text", "language", "act"),
    [
        ("恐れ入りますが、そのようなお言葉はお控えください", "ja", "caution"),
        ("このままそのようなご発言が続くようでしたら、お電話を終了させていただきます", "ja", "first_warning"),
        ("これが最後のお願いです。改めていただけない場合は終了いたします", "ja", "final_warning"),
        ("これ以上お話を続けることはできませんので、お電話を切らせていただきます", "ja", "may_end"),
        ("お電話ありがとうございます、担当の佐藤です", "ja", ""),
        ("ご契約は今月末で終了いたします", "ja", ""),
        ("please don't use that kind of language with me", "en", "caution"),
        ("if you continue to shout I will have to end this call", "en", "first_warning"),
        ("this is my final warning", "en", "final_warning"),
        ("I am now ending the call, goodbye", "en", "may_end"),
        ("your contract ends in June, I can renew it if you like", "en", ""),
        ("thank you for calling, how can I help", "en", ""),
    ],
)
def test_what_the_operators_words_do(text, language, act):
    assert act_of(text, language, {}) == act


def test_the_classifier_goes_before_the_patterns():
    assert act_of("お静かに", "ja", {"caution": 0.9}) == "caution"


@pytest.mark.parametrize(
    ("step", "act", "reached"),
    [
        ("", "caution", "caution"),
        ("", "first_warning", "first_warning"),
        ("first_warning", "first_warning", "final_warning"),
        ("first_warning", "caution", "first_warning"),
        ("", "may_end", ""),
        ("caution", "may_end", "caution"),
        ("final_warning", "may_end", "may_end"),
        ("may_end", "caution", "may_end"),
        ("caution", "", "caution"),
    ],
)
def test_steps_advance_only_by_what_was_said(step, act, reached):
    assert advance(step, act) == reached


def test_the_next_step():
    assert [next_step(step) for step in ("", "caution", "first_warning", "final_warning", "may_end")] == [
        "caution",
        "first_warning",
        "final_warning",
        "may_end",
        "may_end",
    ]


def test_plain_facts_about_talk():
    assert is_backchannel("はい、そうですね", "ja")
    assert is_backchannel("uh huh, okay", "en")
    assert not is_backchannel("返金してください", "ja")
    assert is_question("お名前をお願いできますか", "ja")
    assert is_question("what does the display say", "en")
    assert announces_hold("確認いたしますので、少々お待ちください", "ja")
    assert announces_hold("bear with me one moment", "en")
    assert apologises("大変申し訳ございません", "ja")
    assert says_again("さっきから同じことばっかり", "ja")
    assert says_again("like I said, it's broken", "en")
    assert mostly_digits("〇三の一二三四の五六七八です")
    assert not mostly_digits("三回も電話しました")
