"""Scores of sentences against sentences, and of stories (timed sentences) against stories.

``tools`` holds tokeniser and METEOR, which are Java programs, for the length of one scoring; ``ngrams`` CIDEr, BLEU and
ROUGE-L; ``matching`` which event of one list meets which of another; ``soda`` the story metric. The programs and the
n-gram scores are those of pycocoevalcap (extra ``metrics``).
"""
