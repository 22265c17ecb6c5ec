"""What the calls of the load generator say: composed of many phrases, no two texts alike, none from a public set.

A text is numbered. The number picks one phrase for each place of a sentence, so that texts repeat only after all have been
said; a step that shares no factor with their count spreads neighbours over the whole range.
"""

from __future__ import annotations

from math import gcd, prod
from typing import Final

BACKCHANNELS: Final = ("はい", "ええ", "うん", "はい、はい", "そうですか", "わかりました", "そうです")

_CUSTOMER: Final = (
    ("", "あの、", "えっと、", "すみません、", "それで、", "いや、", "だから、", "実は、", "ちょっと、", "ええ、それが"),
    ("先週の金曜に", "昨日の夕方", "今月の初めに", "おととい", "三日前に", "けさ早く", "半月ほど前に", "ゆうべ",
     "ひと月前に", "日曜の昼に", "引っ越しのあとで", "休み明けに", "台風の日に", "ついさっき"),
    ("頼んだ冷蔵庫", "申し込んだ回線", "そちらの掃除機", "契約した保険", "送った書類", "買った炊飯器", "予約した部屋",
     "母の携帯電話", "子どもの机", "店で選んだ靴", "修理に出した時計", "届いた米", "二台目の洗濯機", "会社の複合機",
     "定期便の水", "新しい鍵", "父の補聴器", "庭の物置", "貸し出しの自転車", "通販のセーター", "壁掛けのテレビ"),
    ("がまだ届いていなくて", "の音がおかしくて", "の色が違っていて", "の請求が二重になっていて", "の画面が映らなくて",
     "の日にちが変わっていて", "の説明書が入っていなくて", "の箱がつぶれていて", "の名義が前のままで",
     "の電源が入らなくて", "の金額が合わなくて", "の連絡が来なくて", "のふたが閉まらなくて", "の部品が足りなくて",
     "の解約ができていなくて", "の水が漏れてきて", "の数が一つ多くて"),
    ("困っているんです", "どうしたらいいですか", "調べてもらえますか", "取り替えてほしいんです", "見に来られますか",
     "返したいのですが", "いつ直りますか", "理由を知りたいです", "もう一度確かめてください", "担当の方はいますか",
     "手続きを教えてください", "家族も待っているので", "あすまでに要るんです"),
)  # fmt: skip
_AGENT: Final = (
    ("かしこまりました。", "さようでございますか。", "恐れ入ります。", "ありがとうございます。", "承知いたしました。",
     "申し訳ございません。", "お待たせいたしました。", "お調べいたしました。", "はい、"),
    ("お客様の", "ご登録の", "今回の", "お手元の", "前回の", "ご家族の", "お申し込みの", "ご利用中の"),
    ("ご注文", "ご契約", "修理の記録", "配送の状況", "お支払いの方法", "保証書", "ご住所の変更", "予約の時間",
     "担当の部署", "部品の在庫", "伝票", "訪問の日程", "会員の情報", "工事の予定", "返品の手続き", "見積もり"),
    ("につきまして", "を画面で見ますと", "を倉庫に問い合わせて", "に関しましては", "を担当者と確かめまして",
     "の控えによりますと", "を最初から見直して", "については"),
    ("本日中にお知らせいたします", "明後日の午前に伺えます", "手配が済んでおります", "新しい品をお送りします",
     "二日ほどお時間をいただきます", "こちらで承ります", "係の者が伺います", "記録に残しております",
     "費用はかかりません", "夕方までに折り返します", "受付の票をお渡しします", "予定どおりに進んでおります"),
    ("", "ので、ご安心ください", "が、よろしいでしょうか", "ことを申し添えます", "と聞いております"),
)  # fmt: skip
_ABUSE: Final = (
    ("おい、", "いいか、", "ふざけるな、", "お前な、", "聞いてんのか、", "この野郎、"),
    ("今からそっちに行って", "夜道で待ち伏せして", "仲間を連れていって", "家を調べ出して", "明日の朝いちばんに"),
    ("お前を殺してやるからな", "お前をぶっ殺すぞ", "全員ぶっ殺してやる", "お前の家に火をつけてやる"),
    ("", "、覚悟しておけ", "、逃げるなよ", "、わかったか", "、本気だぞ"),
    ("", "、今日だ", "、今夜だ", "、週末だ", "、すぐにだ", "、何度でも言う", "、忘れるな", "、冗談じゃない", "、もう遅い"),
)  # fmt: skip


class Phrases:
    """Numbered texts.

    Args:
        places: phrases for each place of the sentence.
    """

    def __init__(self, places: tuple[tuple[str, ...], ...]) -> None:
        self._places = places
        self.count = prod(len(place) for place in places)
        self._step = next(step for step in range(self.count * 5 // 8, self.count) if gcd(step, self.count) == 1)

    def text(self, number: int) -> str:
        """The text of a number from 0; the first `count` numbers give different texts."""
        left = number * self._step % self.count
        parts = []
        for place in self._places:
            left, index = divmod(left, len(place))
            parts.append(place[index])
        return "".join(parts)


CUSTOMER: Final = Phrases(_CUSTOMER)
AGENT: Final = Phrases(_AGENT)
ABUSE: Final = Phrases(_ABUSE)
