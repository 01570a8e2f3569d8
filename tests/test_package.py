"""The package's names: each loads on first use, and is what it says."""

import minirembert


def test_each_name_is_what_it_says() -> None:
    for name in minirembert.__all__:
        assert getattr(minirembert, name).__name__ == name.removeprefix("TF"), name
    assert set(minirembert.__all__) <= set(dir(minirembert))


def test_tensorflow_s_names_are_those_of_the_models() -> None:
    models = {name for name in minirembert.__all__ if name.startswith(("RemBertFor", "RemBertModel"))}
    assert len(models) == 7
    assert {name for name in minirembert.__all__ if name.startswith("TF")} == {f"TF{name}" for name in models}
    for name in models:
        assert getattr(minirembert, f"TF{name}") is getattr(minirembert, name)
    for name in ("TFRemBertConfig", "TFRemBertTokenizer", "RemBert", "nonsense"):
        assert not hasattr(minirembert, name), name
