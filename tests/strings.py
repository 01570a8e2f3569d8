"""Texts to tokenize: many scripts, odd characters, special tokens inside. The same seed gives the same texts.

    for text in generated_strings(2000): ...

A text is a few fragments in a row. Fragments come from families (words of many languages, marks, spaces, emoji, ...), and a
text takes them from one, two or all families, so that each is seen by itself as well as next to every other.
"""

import random
import unicodedata
from collections.abc import Sequence

SPECIALS = ("[PAD]", "[CLS]", "[UNK]", "[SEP]", "[MASK]")

WORDS = {
    "latin": "the people of the united nations we're don't it's x86 e-mail NASA Ångström naïve façade co-op 3.14 1,000",
    "latin with marks": "würde gleich façon œuvre señor łódź žluťoučký kůň İstanbul ışık ÇOĞUL ﬁne ﬂow Ꝏ straße STRASSE",
    "vietnamese": "tiếng Việt được Nguyễn người quốc ngữ ệ ử ặ",
    "greek": "όλοι οι άνθρωποι γεννιούνται ελεύθεροι ΑΣ ΟΔΟΣ ἄνθρωπος",
    "cyrillic": "все люди рождаются свободными и равными ёлка Їжак ѕид",
    "han": "人人生而自由 在尊嚴和權利上一律平等 漢字 𠮷野家 葛󠄀城 々 〇",
    "japanese": "すべての人間は 生まれながらにして カタカナ ｶﾞｷﾞ ㌀ ㍿ か\u3099 が ー",
    "korean": "모든 인간은 태어날 때부터 자유로우며 \u1112\u1161\u11ab 한 ㄱㄴ",
    "arabic": "يولد جميع الناس أحرارا ﷽ ﻻ لا مُحَمَّد ٠١٢ ۱۲۳ پژچ",
    "hebrew": "כל בני האדם נולדו בני חורין שָׁלוֹם ﬡ יִשְׂרָאֵל",
    "devanagari": "सभी मनुष्यों को गौरव और अधिकारों क्षत्रिय ज़ ज\u093c हिन्दी १२३",
    "thai": "มนุษย์ทั้งหลาย เกิดมา มีอิสระ น้ำ ๑๒๓ กำ",
    "others": "ყველა ადამიანი Բոլոր մարդիկ எல்லா மனிதர்களும் ሁሉም သူတို့ ລາວ བོད་ ᚠᚢᚦ 𐌰𐍄𐍄𐌰 𝔘𝔫𝔦 ①②③ ½ ²",
}
MARKS = [
    "\u0301",
    "\u0308",
    "\u0323\u0302",
    "\u0302\u0323",
    "\u0327",
    "\u3099",
    "\u309a",
    "\u094d",
    "\u064b",
    "\u05b8",
    "\u20dd",
]
SPACES = [
    " ", "  ", "   ", "\t", "\n", "\r\n", "\v", "\f", "\u00a0", "\u1680", "\u2000", "\u2003", "\u2009", "\u200a", "\u2028",
    "\u2029", "\u202f", "\u205f", "\u3000", "\x1c", "\x1f", "\x85",
]  # fmt: skip
EMOJI = ["👩‍👩‍👧", "❤️", "🇩🇪", "👍🏽", "🏳️‍🌈", "☃", "😀😀", "1️⃣", "🧑‍🚀", "\U000e0067\U000e0062"]
CONTROLS = [
    "\x00", "\x01", "\x07", "\x08", "\x1b", "\x7f", "\x80", "\x9f", "\u00ad", "\u200b", "\u200c", "\u200d", "\u200e", "\u202a",
    "\u2060", "\ufeff", "\ufffd", "\ufffe", "\uffff", "\ue000", "\U0010ffff", "\u180e", "\u034f",
]  # fmt: skip
PUNCTUATION = [
    "`", "``", "'", "''", '"', "“", "”", "‘", "…", "...", "—", "-", "_", "▁", "▁▁", "⁇", "▅", "/", "\\", "%", "％",
    "ＡＢｃ", "０", " n't", " 's", " .", "!", "?", "؟", "。", "、", "「", "」", "·", "#", "@", "000000", "aaaa", "((",
    "))", "$", "€",
]  # fmt: skip
ALMOST_SPECIAL = [
    "[", "]", "[MA", "SK]", "[mask]", "[Mask]", "［MASK］", "[MASK", "MASK]", "[ MASK]", "[[MASK]]", "<unk>", "<s>",
    "</s>", "<pad>",
]  # fmt: skip


def generated_strings(count: int, seed: int = 0, specials: Sequence[str] = SPECIALS) -> list[str]:
    """`count` different texts of up to a dozen fragments; the first are fixed: the empty one, each fragment by itself."""
    rng = random.Random(seed)
    families = {
        **{name: text.split(" ") for name, text in WORDS.items()},
        "marks": MARKS,
        "spaces": SPACES,
        "emoji": EMOJI,
        "controls": CONTROLS,
        "punctuation": PUNCTUATION,
        "almost special": ALMOST_SPECIAL,
        "special": list(specials),
    }
    texts = dict.fromkeys(
        ["", *(fragment for family in families.values() for fragment in family)]
    )  # each once, in order
    while len(texts) < count:
        chosen = rng.choice([rng.sample(list(families), 1), rng.sample(list(families), 2), list(families)])
        joint = rng.choice(["", " ", " ", rng.choice(SPACES)])
        fragments = [rng.choice(families[rng.choice(chosen)]) for _ in range(rng.randint(1, 12))]
        if rng.random() < 0.3:
            fragments.append(random_characters(rng, rng.randint(1, 4)))
        text = joint.join(fragments)
        if rng.random() < 0.2:  # what is typed on a Mac, or pasted from a PDF
            text = unicodedata.normalize(rng.choice(["NFD", "NFKD", "NFC", "NFKC"]), text)
        if rng.random() < 0.1:
            text = rng.choice([text.upper(), text.title(), text.lower(), text[::-1]])
        texts[text] = None
    return list(texts)[:count]


def random_characters(rng: random.Random, count: int) -> str:
    """From all of Unicode, half of them from its first plane; no surrogates, which are not text."""
    characters = []
    while len(characters) < count:
        code = rng.randrange(0x10000) if rng.random() < 0.5 else rng.randrange(0x110000)
        if not 0xD800 <= code < 0xE000:
            characters.append(chr(code))
    return "".join(characters)


def long_text(size: int, seed: int = 0, specials: Sequence[str] = ()) -> str:
    """At least `size` bytes of UTF-8: words of all scripts, with a special token now and then."""
    rng = random.Random(seed)
    words = [word for text in WORDS.values() for word in text.split(" ")] + list(specials)
    average = sum(len(word.encode()) + 1 for word in words) / len(words)
    text = " ".join(rng.choices(words, k=int(1.1 * size / average) + 100))
    assert len(text.encode()) >= size
    return text
