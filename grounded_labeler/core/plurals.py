"""English nouns whatever their number: what a word may be the plural of."""

from functools import lru_cache

from grounded_labeler.core.lexicon import word_set

_LONGEST_WORD = 40  # characters, of the words whose singulars are cached

# Endings of plurals, the least length of such a word, and the endings of the singulars they
# may come from. Too many rather than too few: a singular that is no word is no project's
# label either.
_ENDINGS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("s", 2, ("",)),
    ("ies", 4, ("y",)),
    ("ves", 4, ("f",)),
    ("ives", 5, ("ife",)),
    *((ending + "es", 4, (ending,)) for ending in ("s", "x", "z", "ch", "sh", "o")),
    ("zzes", 5, ("z",)),
    ("sses", 5, ("s",)),
    ("men", 3, ("man",)),
    ("people", 6, ("person",)),
    ("children", 8, ("child",)),
    ("mice", 4, ("mouse",)),
    ("lice", 4, ("louse",)),
    ("geese", 5, ("goose",)),
    ("feet", 4, ("foot",)),
    ("teeth", 5, ("tooth",)),
    ("oxen", 4, ("ox",)),
    # Latin and Greek
    ("ae", 5, ("a",)),
    ("i", 5, ("us",)),
    ("ia", 5, ("ium", "ion")),
    ("ices", 6, ("ex", "ix")),
    ("ces", 6, ("x",)),
    ("ses", 5, ("sis",)),
    ("xes", 4, ("xis",)),
    ("mata", 6, ("ma", "maton")),
    ("mina", 6, ("men",)),
    ("nges", 6, ("nx",)),
    ("zoa", 5, ("zoon", "zoan")),
    ("eaux", 5, ("eau",)),
)
# Those of no rule that would not take other words for plurals.
_IRREGULAR: dict[str, tuple[str, ...]] = {
    "dice": ("die",),
    "pence": ("penny",),
    "staves": ("staff",),
    "loci": ("locus",),
    "foci": ("focus",),
    "data": ("datum",),
    "errata": ("erratum",),
    "strata": ("stratum",),
    "ova": ("ovum",),
    "septa": ("septum",),
    "labra": ("labrum",),
    "sterna": ("sternum",),
    "cerebra": ("cerebrum",),
    "phyla": ("phylum",),
    "addenda": ("addendum",),
    "phenomena": ("phenomenon",),
    "polyhedra": ("polyhedron",),
    "criteria": ("criterion",),
    "viscera": ("viscus",),
    "corpora": ("corpus",),
    "genera": ("genus",),
    "opera": ("opus",),
    "testes": ("testis",),
    "paparazzi": ("paparazzo",),
    "graffiti": ("graffito",),
    "passersby": ("passerby",),
    "cherubim": ("cherub",),
    "kibbutzim": ("kibbutz",),
}
_SINGULAR = word_set("lens news gas iris chassis canvas atlas series species yes his this")
_PLURAL_IN_US = word_set("menus emus gnus bayous caribous gurus tofus tutus zebus")
_IRREGULAR_ENDINGS = ("men", "people", "children", "mice", "lice", "geese", "feet", "teeth", "oxen")
# The head of "piece of paper" and "mother in law" is not their last word.
_AFTER_THE_HEAD = word_set("of in by at on with without for from to under")


def singulars(word: str) -> tuple[str, ...]:
    """The word and every singular it may be the plural of, the likelier first.

    The inflect package is not used: it takes 1.5 s to import, has one answer for "axes",
    and makes "bu" of "bus", "vertice" of "vertices" and nothing of "larvae" and "fungi".
    """
    return _known(word) if len(word) <= _LONGEST_WORD else _forms(word)


def _forms(word: str) -> tuple[str, ...]:
    forms = [word, *_IRREGULAR.get(word, ())]
    for plural, length, endings in _ENDINGS:
        if len(word) >= length and word.endswith(plural):
            if plural == "s" and (word.endswith("ss") or word in _SINGULAR):
                continue
            if plural == "s" and word.endswith("us") and word not in _PLURAL_IN_US:
                continue
            stem = word.removesuffix(plural)
            forms.extend(stem + ending for ending in endings)
    return tuple(dict.fromkeys(forms))


_known = lru_cache(maxsize=8192)(_forms)


def is_plural(word: str) -> bool:
    """Whether the word looks like a plural noun."""
    return word.endswith(_IRREGULAR_ENDINGS) or (
        len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    )


def in_the_singular(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The words with their head noun in every singular it may have, as they are first.

    The head is the last word, or the one before "of" and the like.
    """
    heads = {len(words) - 1}
    after = next((i for i, w in enumerate(words) if i and w in _AFTER_THE_HEAD), None)
    if after is not None:
        heads.add(after - 1)
    forms = [words] if words else []
    for head in heads if words else ():
        forms += [(*words[:head], form, *words[head + 1 :]) for form in singulars(words[head])[1:]]
    return forms
