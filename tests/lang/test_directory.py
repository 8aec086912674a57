from __future__ import annotations

import itertools

import pytest

from asr_distill.base import DIGESTS_FILE, UserError, read_json
from asr_distill.lang import Lang, Lexicon, Pronunciation, Subwords, SymbolTable, base_phone
from asr_distill.senones import topology_of_lang

LEXICON = Lexicon(
    (
        Pronunciation("TO", ("T", "UW")),
        Pronunciation("TWO", ("T", "UW")),
        Pronunciation("TOO", ("T", "UW"), 0.5),
        Pronunciation("A", ("AH",)),
        Pronunciation("A", ("EY",), 0.25),
        Pronunciation("TOOL", ("T", "UW", "L")),
        Pronunciation("<UNK>", ("SPN",)),
    )
)


@pytest.fixture
def lang(tmp_path):
    return Lang.build(LEXICON, tmp_path / "lang")


def test_ids_are_in_kaldi_s_order(lang):
    assert lang.phones.symbols == ("<eps>", "SIL", "SPN", "AH", "EY", "L", "T", "UW", "#0", "#1", "#2", "#3", "#4")
    assert lang.words.symbols == ("<eps>", "<UNK>", "A", "TO", "TOO", "TOOL", "TWO", "#0", "<s>", "</s>")
    assert lang.real_phones == ("SIL", "SPN", "AH", "EY", "L", "T", "UW")
    assert lang.real_words == ("<UNK>", "A", "TO", "TOO", "TOOL", "TWO")
    assert lang.disambig_ids == (8, 9, 10, 11, 12)
    assert lang.silence_phones == ("SIL", "SPN")
    assert (lang.backoff_phone_id, lang.backoff_word_id) == (8, 7)


def test_load_gives_back_what_was_built(lang):
    assert Lang.load(lang.directory) == lang
    assert Lang.build(LEXICON, lang.directory).hash == lang.hash
    assert Lang.build(LEXICON, lang.directory, silence_probability=0.4).hash != lang.hash


@pytest.mark.parametrize("name", ["phones.txt", "words.txt", "lexiconp.txt"])
def test_a_changed_file_is_noticed(lang, name):
    path = lang.directory / name
    path.write_text(path.read_text().replace("UW", "UX").replace("TOOL", "FOOL"))
    with pytest.raises(UserError, match=f"{name} is damaged or was changed"):
        Lang.load(lang.directory)
    (lang.directory / DIGESTS_FILE).unlink()  # of an earlier version
    with pytest.raises(UserError, match="hash"):
        Lang.load(lang.directory)


def test_what_is_no_lang_directory_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a lang directory"):
        Lang.load(tmp_path)


def test_a_failed_build_leaves_the_old_directory(lang):
    for bad in (1.0, -0.1, float("nan")):
        with pytest.raises(UserError, match="probability"):
            Lang.build(LEXICON, lang.directory, silence_probability=bad)
    with pytest.raises(UserError, match="empty"):
        Lang.build(Lexicon(()), lang.directory)
    assert Lang.load(lang.directory) == lang


def test_kaldi_and_icefall_files(lang):
    folder = lang.directory
    assert (folder / "disambig.int").read_text().split() == ["8", "9", "10", "11", "12"]
    assert (folder / "silence.txt").read_text().split() == ["SIL", "SPN"]
    assert (folder / "phones" / "silence.csl").read_text() == "1:2\n"
    assert (folder / "phones" / "optional_silence.int").read_text() == "1\n"
    assert (folder / "tokens.txt").read_text() == (folder / "phones.txt").read_text()
    assert "TWO 1 T UW #2\n" in (folder / "lexiconp_disambig.txt").read_text()
    assert "TOOL T UW L\n" in (folder / "lexicon_disambig.txt").read_text()
    assert read_json(folder / "lang.json")["hash"] == lang.hash
    assert not [path for path in folder.rglob("*") if path.suffix in (".pt", ".pkl")]


def test_the_binary_fst_is_the_text_form(lang):
    import kaldifst

    for name in ("L", "L_disambig"):
        fst = kaldifst.StdVectorFst.read(str(lang.directory / f"{name}.fst"))
        text = (lang.directory / f"{name}.fst.txt").read_text()
        arcs = sorted(
            (state, arc.nextstate, arc.ilabel, arc.olabel, round(arc.weight.value, 4))
            for state in kaldifst.StateIterator(fst)
            for arc in kaldifst.ArcIterator(fst, state)
        )
        listed = sorted(
            (*map(int, fields[:4]), round(float(fields[4]), 4))
            for fields in map(str.split, text.splitlines())
            if len(fields) == 5
        )
        assert arcs == listed
    loops = [arc for arc in arcs if lang.backoff_phone_id == arc[2]]
    assert loops == [(1, 1, lang.backoff_phone_id, lang.backoff_word_id, 0.0)]


def accepted(fst_path, labels):
    import kaldifst

    composed = kaldifst.compose(kaldifst.make_linear_acceptor(labels), kaldifst.StdVectorFst.read(str(fst_path)))
    if composed.start < 0:
        return set()
    paths = kaldifst.shortest_path(composed, n=20)
    found = set()
    for arc in kaldifst.ArcIterator(paths, paths.start):
        words, state = [arc.olabel], arc.nextstate
        while (following := list(kaldifst.ArcIterator(paths, state))) != []:
            words.append(following[0].olabel)
            state = following[0].nextstate
        found.add(tuple(word for word in words if word))
    return found


@pytest.mark.parametrize("position_dependent", [False, True])
def test_each_pronunciation_is_accepted_as_its_word(tmp_path, position_dependent):
    lang = Lang.build(LEXICON, tmp_path / "lang", position_dependent=position_dependent)
    for entry in lang.lexicon.entries:
        homophones = {other.word for other in lang.lexicon.entries if other.phones == entry.phones}
        found = accepted(lang.lexicon_fst_path, lang.phone_ids(entry))
        assert found == {(lang.words[word],) for word in homophones}
    for line in (lang.directory / "lexiconp_disambig.txt").read_text().splitlines():
        word, _, *symbols = line.split()
        assert accepted(lang.lexicon_disambig_fst_path, [lang.phones[s] for s in symbols]) == {(lang.words[word],)}


def test_position_markers(tmp_path):
    lang = Lang.build(LEXICON, tmp_path / "lang", position_dependent=True)
    assert lang.lexicon.pronunciations("TOOL")[0].phones == ("T_B", "UW_I", "L_E")
    assert lang.lexicon.pronunciations("A")[0].phones == ("AH_S",)
    assert lang.lexicon.pronunciations("<UNK>")[0].phones == ("SPN",)
    assert lang.real_phones[:6] == ("SIL", "SPN", "AH_B", "AH_E", "AH_I", "AH_S")
    assert {base_phone(phone) for phone in lang.real_phones} == {"SIL", "SPN", "AH", "EY", "L", "T", "UW"}
    assert "AH_B begin" in (lang.directory / "phones" / "word_boundary.txt").read_text()
    assert "SIL nonword" in (lang.directory / "phones" / "word_boundary.txt").read_text()
    assert Lang.load(lang.directory) == lang
    for again in (True, False):
        with pytest.raises(UserError, match=r"all phones .* AH_S EY_S .*take the markers off"):
            Lang.build(lang.lexicon, tmp_path / "again", position_dependent=again)


def test_phones_that_end_like_a_marker(tmp_path):
    lexicon = Lexicon((Pronunciation("che", ("t_S", "e")), Pronunciation("te", ("t", "e")), Pronunciation("me", ("M_E",))))
    with pytest.raises(UserError, match=r"M_E t_S; expected none with --position-dependent"):
        Lang.build(lexicon, tmp_path / "lang", position_dependent=True)
    lang = Lang.build(lexicon, tmp_path / "lang")
    assert lang.real_phones == ("SIL", "M_E", "e", "t", "t_S")
    assert topology_of_lang(lang.directory).base_phones == lang.real_phones


def test_symbol_tables_are_strict(tmp_path):
    path = tmp_path / "words.txt"
    for text, says in (
        ("<eps> 0\nA 2\n", "line 2"),
        ("<eps> 0\nA 1\nA 2\n", "twice"),
        ("A 0\n", "<eps>"),
        ("<eps>\n", "line 1"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=says):
            SymbolTable.read(path)
    table = SymbolTable(("<eps>", "A"))
    assert (table["A"], table[1], table.id("A"), table.name(1), len(table), "B" in table) == (1, "A", 1, "A", 2, False)
    for key in ("B", 2, -1):
        with pytest.raises(KeyError):
            table[key]


def test_subword_lang_shares_phones_with_its_alignment_lang(tmp_path):
    sentences = [["NAÏVE", "NAIVE"], ["DON'T", "NAME"]] * 3
    subwords = Subwords.train(sentences, 20)
    lang = Lang.build_subwords(subwords, itertools.chain(*sentences), tmp_path / "lang")
    assert Lang.load(tmp_path / "lang") == lang
    assert lang.real_phones == ("SIL", *sorted(subwords.alphabet))
    whole = lang.for_alignment()
    assert whole.real_phones == lang.real_phones
    assert whole.lexicon.pronunciations("DON'T")[0].phones == ("D", "O", "N", "'", "T")
    assert whole.for_alignment() is whole
    units = lang.units(["NAÏVE", "DON'T"])
    assert lang.join_pieces(units) == ["NAÏVE", "DON'T"]
    assert all(unit in lang.words for unit in units)
    assert (lang.directory / "subwords.model").is_file()
    with pytest.raises(UserError, match="subwords"):
        _ = whole.subwords


def test_a_subword_transcript_is_accepted_in_every_segmentation(tmp_path):
    sentences = [["AB", "ABA"], ["BA"]] * 4
    lang = Lang.build_subwords(Subwords.train(sentences, 8), itertools.chain(*sentences), tmp_path / "lang")
    silence, phones = lang.phones["SIL"], lang.phones
    found = accepted(lang.lexicon_fst_path, [phones["A"], phones["B"], silence, phones["B"], phones["A"]])
    assert tuple(lang.words[unit] for unit in lang.units(["AB", "BA"])) in found
    joined = [lang.join_pieces([lang.words[word] for word in words]) for words in found]
    assert ["AB", "BA"] in joined
    for words in joined:
        assert "".join(words) == "ABBA"
        assert 2 in itertools.accumulate(map(len, words)), "silence in the middle is a word boundary"
