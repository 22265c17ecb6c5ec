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
        ("恐れ入りますが、もう少し穏やかにお話しいただけますでしょうか", "ja", "caution"),
        ("個人的なことにつきましてはお答えいたしかねます", "ja", "caution"),
        ("担当者を名指しするようなお話はご遠慮ください", "ja", "caution"),
        ("お言葉が続きますと、お話を続けることが難しくなります", "ja", "first_warning"),
        ("おやめいただけない場合は、通話を終えて社内で対応いたします", "ja", "first_warning"),
        ("同じお話が繰り返されるのでしたら、本日の対応はここまでになります", "ja", "first_warning"),
        ("二度目になりますが、改まらないようでしたら切らせていただきます", "ja", "final_warning"),
        ("職員の安全のため警察に相談いたします", "ja", "final_warning"),
        ("ご説明は以上です、通話を終了いたします", "ja", "may_end"),
        ("手続きを終了いたしました、ほかにご用件はございますか", "ja", ""),
        ("工事が続いておりますので、開通は来月となります", "ja", ""),
        ("その商品の販売は終了いたしました", "ja", ""),
        ("担当者が不在のため、折り返しご連絡いたします", "ja", ""),
        ("could we keep this conversation civil, please", "en", "caution"),
        ("I'd appreciate it if you didn't raise your voice", "en", "caution"),
        ("I won't be spoken to like that", "en", "caution"),
        ("I'm not going to answer personal questions", "en", "caution"),
        ("those comments are not appropriate", "en", "caution"),
        ("another remark like that and I'll have to hang up", "en", "first_warning"),
        ("unless you lower your voice I won't be able to continue", "en", "first_warning"),
        ("carry on like this and that's the end of the call", "en", "first_warning"),
        ("I've asked you twice now, the next time I'm hanging up", "en", "final_warning"),
        ("I'm not going to warn you again", "en", "final_warning"),
        ("right, I'm terminating this call now", "en", "may_end"),
        ("this call is over", "en", "may_end"),
        ("if you keep the receipt you can return it again within a month", "en", ""),
        ("please hold while I look at your account", "en", ""),
        ("I'll end the trial on the first and continue the yearly plan", "en", ""),
        ("let's go through the personal details on the form", "en", ""),
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


def test_the_classifier_finds_what_the_patterns_do_not_and_the_later_step_counts():
    assert act_of("もう結構です", "ja", {"caution": 0.9}) == "caution"
    assert (
        act_of("これが最後のお願いです。改めていただけない場合は終了いたします", "ja", {"caution": 0.9})
        == "final_warning"
    )
    assert act_of("通話を終了いたします", "ja", {"caution": 0.5}) == "may_end"


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
