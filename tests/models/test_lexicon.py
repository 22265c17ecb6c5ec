import pytest

from detector.labels import HARASSMENT_LABELS, Speaker
from detector.rules import default_rules
from detector.scoring import ScoreRequest
from models.errors import LexiconError
from models.lexicon import load_lexicon
from models.lexicon_scorer import LexiconScorer


def labels(text: str, language: str = "ja", speaker: Speaker = Speaker.CUSTOMER) -> set[str]:
    request = ScoreRequest(request_id="r", text=text, language=language, speaker=speaker)
    return set(LexiconScorer().score([request])[0].labels)


@pytest.mark.parametrize(
    ("language", "text", "label"),
    [
        ("ja", "お前みたいな無能に用はない", "verbal_abuse"),
        ("ja", "今から行ってぶっ殺すぞ", "threat"),
        ("ja", "夜道には気をつけろよ", "threat"),
        ("ja", "ﾈｯﾄに名前を晒してやる", "exposure"),
        ("ja", "店長が来て土下座しろ", "excessive_demand"),
        ("ja", "俺を誰だと思ってるんだ", "authority"),
        ("ja", "女じゃ話にならない", "discrimination"),
        ("ja", "今日のパンツ何色", "sexual"),
        ("ja", "お姉さんの家どこか教えてよ", "intrusion"),
        ("en", "You are a useless moron", "verbal_abuse"),
        ("en", "I swear I'll burn that place down", "threat"),
        ("en", "I'm going to make you famous", "exposure"),
        ("en", "I want her fired today", "excessive_demand"),
        ("en", "Do you know who I am?", "authority"),
        ("en", "Go back to your own country", "discrimination"),
        ("en", "What are you wearing right now?", "sexual"),
        ("en", "What time do you get off work?", "intrusion"),
    ],
)
def test_says_what_it_is_made_for(language: str, text: str, label: str) -> None:
    assert label in labels(text, language)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("ja", "『バカ野郎』と言われたんです"),
        ("ja", "私がバカでした"),
        ("ja", "隣の奴がバカで困ってます"),
        ("ja", "死ぬほど困ってるんです"),
        ("ja", "消費者センターに相談します"),
        ("ja", "女の子の服を買ったんですが"),
        ("ja", "クソ暑いのにエアコンが動かない"),
        ("ja", "殺虫剤を注文したんですが届きません"),
        ("en", "my boss will kill me if this is late"),
        ("en", "He called me a stupid bitch and I want to report it"),
        ("en", "I feel so stupid, I read it wrong"),
        ("en", "I'll talk to my lawyer and cancel the contract"),
        ("en", "Could I have your name for my notes?"),
        ("en", "The assistant at the shop was useless"),
    ],
)
def test_keeps_silent(language: str, text: str) -> None:
    assert not labels(text, language) & set(HARASSMENT_LABELS)


def test_spans_hold_the_words_in_the_original() -> None:
    text = "おい、ﾌｻﾞｹるな。ぶっ殺すぞ"
    result = LexiconScorer().score([ScoreRequest(request_id="r", text=text, language="ja")])[0]
    assert [text[span.start : span.end] for span in result.spans if span.label == "threat"] == ["ぶっ殺すぞ"]


def test_a_language_never_reads_the_other_ones_words() -> None:
    assert not labels("お前は無能だ", "en")
    assert not labels("you useless idiot", "ja")


def test_an_agent_is_read_for_cues_alone() -> None:
    assert labels("お前は無能だ", speaker=Speaker.AGENT) == set()
    assert "apology" in labels("大変申し訳ございません", speaker=Speaker.AGENT)
    assert "hold" in labels("少々お待ちください", speaker=Speaker.AGENT)


def test_house_terms_are_added_and_muted() -> None:
    assert load_lexicon(terms={"ja": {"ぼんくら": "verbal_abuse"}}).hits is not None
    scorer = LexiconScorer(load_lexicon(terms={"ja": {"ぼんくら": "verbal_abuse"}}))
    request = ScoreRequest(request_id="r", text="このぼんくらめ", language="ja")
    assert scorer.score([request])[0].labels == ("verbal_abuse",)
    muted = LexiconScorer(load_lexicon(muted=["土下座"]))
    assert muted.score([ScoreRequest(request_id="r", text="土下座しろ", language="ja")])[0].labels == ()
    with pytest.raises(LexiconError):
        load_lexicon(terms={"ja": {"ぼんくら": "nonsense"}})


def test_hints_are_the_gravest_alone() -> None:
    lexicon = load_lexicon()
    assert lexicon.gravest_hint("今から殺しに行くぞ", "ja") == ("threat",)
    assert lexicon.gravest_hint("もう死にたい", "ja") == ("self_harm",)
    assert lexicon.gravest_hint("土下座しろ", "ja") == ()
    assert lexicon.gravest_hint("i'm gonna kill you", "en") == ("threat",)
    assert lexicon.gravest_hint("i'm gonna kill you", "fr") == ()


def test_every_bundled_entry_says_why() -> None:
    assert load_lexicon() is not None


def test_a_plain_insult_is_a_clear_case_by_the_bundled_rules_without_a_classifier() -> None:
    """In degraded mode the lexicon is all there is: its surest words must reach a warning on their own."""
    (result,) = LexiconScorer().score([ScoreRequest(request_id="1", text="お前は無能だ", language="ja")])
    assert max(result.scores.values()) >= default_rules().abuse.clear_score
