"""Text to token ids and back.

tokenizer.py   RemBertTokenizer, on the sentencepiece library
encoding.py    what a call returns, and how sequences are cut and padded
training.py    a new vocabulary from text files
"""
