"""Text to token ids and back.

tokenizer.py        RemBertTokenizer, on the sentencepiece library
fast.py             RemBertTokenizerFast, on the tokenizers library; its pipeline: fast_backend.py, fast_sentencepiece.py;
                    a call of the library and what it cannot cut: fast_calls.py
auto.py             AutoTokenizer, the one that a folder asks for

What both have in common, each a class that adds to the one before:
special_tokens.py   special tokens by name, adding tokens
vocabulary.py       tokens, ids and text
template.py         special tokens around a sequence or a pair
calls.py            calling a tokenizer
pretrained.py       settings, saving, loading

And what these are made of:
added_tokens.py     a token with flags; cutting a text at such tokens
options.py          the options of a call
lengths.py, rows.py how sequences are cut and padded; texts, pairs and rows on their way
encoding.py         what a call returns; arrays.py: lists into arrays
folder.py           a tokenizer's files

training.py         a new vocabulary from text files, with the candidates of candidates.py
"""
