import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import BertTokenizerFast

from grounded_labeler.errors import BadRequest
from grounded_labeler.models.detectors.caption import CaptionBuilder, phrase_scores
from tools.make_groundingdino_golden import VOCABULARY
from tools.train_demo_detector import vocabulary

LIMIT = 256


def bert_like(tokens: Sequence[str]) -> Tokenizer:
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer: Tokenizer = BertTokenizerFast(vocab=vocab).backend_tokenizer
    return tokenizer


TOKENIZERS = {"demo": bert_like(list(vocabulary())), "bert": bert_like(VOCABULARY)}
BUILDERS = {name: CaptionBuilder(tokenizer, LIMIT) for name, tokenizer in TOKENIZERS.items()}

# What a person, or a test of one, may type; special tokens and separators more often than chance.
PIECES = st.one_of(
    st.sampled_from(["cat", "red circle", ".", "?", "[SEP]", "[cls]", "[PAD]", "[MASK]", "[UNK]"]),
    st.sampled_from(
        [" ", "\n", "##s", "é", "İ", "ß", "漢字", "\u0301", "\u200d", "\x00", "\ud83d"]
    ),
    st.text(max_size=8),
)
PHRASES = st.lists(st.lists(PIECES, min_size=1, max_size=5).map("".join).filter(bool), max_size=60)


@pytest.mark.parametrize("name", list(TOKENIZERS))
@settings(max_examples=150, deadline=None)
@given(phrases=PHRASES)
def test_every_phrase_has_its_own_tokens_and_no_others(name: str, phrases: list[str]) -> None:
    tokenizer, builder = TOKENIZERS[name], BUILDERS[name]
    dot = tokenizer.token_to_id(".")
    special = {tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]", "[PAD]", "[MASK]", ".", "?")}

    captions = builder.build(phrases)

    asked = [sum(bool(caption.tokens[p]) for caption in captions) for p in range(len(phrases))]
    assert set(asked) <= {0, 1}
    words = [phrase.isascii() and phrase.isalnum() for phrase in phrases]
    assert all(count for count, word in zip(asked, words, strict=True) if word)
    for caption in captions:
        ids = tokenizer.encode(caption.text).ids
        assert len(ids) <= LIMIT
        assert len(caption.tokens) == len(phrases)
        runs = sorted({(run.start, run.stop) for run in caption.tokens if run})
        # [CLS], each phrase with its ".", [SEP]: nothing left over, nothing shared.
        assert [start for start, _ in runs] == [1, *(stop + 1 for _, stop in runs[:-1])]
        assert len(ids) == runs[-1][1] + 2
        assert all(ids[stop] == dot for _, stop in runs)
        assert all(ids[i] not in special for start, stop in runs for i in range(start, stop))


def test_caption_reads_as_the_model_was_trained() -> None:
    (caption,) = BUILDERS["bert"].build(["Red Cat", "dog"])
    assert caption.text == "red cat . dog ."
    assert caption.tokens == (range(1, 3), range(4, 5))


def test_word_pieces_belong_to_the_phrase_of_their_word() -> None:
    (caption,) = BUILDERS["bert"].build(["cats", "dog"])  # cat ##s . dog .
    assert caption.tokens == (range(1, 3), range(4, 5))


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("cat. dog?", "cat dog ."),
        ("st.cat", "st cat ."),
        ("cat [SEP] dog", "cat dog ."),
        ("[cls]cat[Mask]", "cat ."),
        ("[S[PAD]EP]cat", "[s ep]cat ."),
        ("red\ncat\t dog", "red cat dog ."),
        ("cat\ud83d", "cat ."),
    ],
)
def test_what_would_break_a_phrase_apart_is_a_space(phrase: str, text: str) -> None:
    (caption,) = BUILDERS["bert"].build([phrase])
    assert caption.text == text


@pytest.mark.parametrize("phrase", ["???", "...", "[SEP]", " ", "\n", "\u0301", "\x00", "\ud83d"])
def test_phrase_without_a_token_is_not_asked(phrase: str) -> None:
    assert BUILDERS["bert"].build([phrase]) == []
    (caption,) = BUILDERS["bert"].build([phrase, "cat"])
    assert caption.text == "cat ."
    assert caption.tokens == (range(0), range(1, 2))


def test_same_phrase_twice_is_asked_once() -> None:
    (caption,) = BUILDERS["bert"].build(["cat", "dog", "Cat.", "cat"])
    assert caption.text == "cat . dog ."
    assert caption.tokens[0] == caption.tokens[2] == caption.tokens[3]


def test_no_phrases_make_no_caption() -> None:
    assert BUILDERS["bert"].build([]) == []


def test_many_phrases_are_split_between_captions() -> None:
    # "abcd" is 4 pieces and a ".": 50 of them fill the 254 places and 51 do not.
    letters = itertools.product("efgjkm", repeat=4)
    phrases = ["".join(four) for four in itertools.islice(letters, 120)]
    captions = BUILDERS["bert"].build(phrases)
    asked = [[bool(run) for run in caption.tokens] for caption in captions]
    assert [sum(row) for row in asked] == [50, 50, 20]
    assert np.array(asked).sum(axis=0).tolist() == [1] * 120


def test_longest_phrase_fits_and_one_token_more_is_refused() -> None:
    builder = BUILDERS["bert"]
    (caption,) = builder.build([" ".join(["cat"] * 253)])
    assert len(caption.tokens[0]) == 253
    with pytest.raises(BadRequest, match=r"is 254 tokens long .* at most 253"):
        builder.build(["dog", " ".join(["cat"] * 254)])


def test_settings_of_the_model_s_own_tokenizer_do_not_matter() -> None:
    tokenizer = bert_like(VOCABULARY)
    builder = CaptionBuilder(tokenizer, LIMIT)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=300)
    (caption,) = builder.build(["red cat", "dog", "hat"])
    assert caption.tokens == (range(1, 3), range(4, 5), range(6, 7))


def test_scores_of_a_phrase_come_from_its_own_tokens() -> None:
    scores = np.array([[0.9, 0.1, 0.3, 0.95, 0.7, 0.8]], np.float32)  # [CLS] red cat . dog .
    peaks, means = phrase_scores(scores, [range(1, 3), range(4, 5), range(0)])
    np.testing.assert_allclose(peaks, [[0.3, 0.7, 0.0]], atol=1e-6)
    np.testing.assert_allclose(means, [[0.2, 0.7, 0.0]], atol=1e-6)
    assert peaks.dtype == means.dtype == np.float32


@pytest.mark.parametrize(("queries", "runs"), [(0, [range(1, 2)]), (3, []), (0, [])])
def test_scores_of_nothing_keep_their_shape(queries: int, runs: list[range]) -> None:
    peaks, means = phrase_scores(np.zeros((queries, 8), np.float32), runs)
    assert peaks.shape == means.shape == (queries, len(runs))
