"""A little text in six languages, to train a tokenizer on."""

import itertools
from pathlib import Path

TEXTS = {
    "en": "the people of the united nations determined to save succeeding generations from the scourge of war",
    "de": "alle menschen sind frei und gleich an würde und rechten geboren und sollen einander begegnen",
    "ru": "все люди рождаются свободными и равными в своем достоинстве и правах они наделены разумом и совестью",
    "zh": "人人 生而 自由 在 尊严 和 权利 上 一律 平等 他们 赋有 理性 和 良心 并应 以 兄弟 关系 的 精神 相 对待",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق وقد وهبوا عقلا وضميرا",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है",
}


def write_files(folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for language, text in TEXTS.items():
        words = text.split()
        compounds = " ".join(a + b for a, b in itertools.pairwise(words))  # what is seen twice can become a piece
        (folder / f"{language}.txt").write_text(f"{text}\n{text}\n{compounds}\n", encoding="utf-8")
    return [folder / f"{language}.txt" for language in TEXTS]
