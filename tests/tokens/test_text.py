# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Ids to text and back, and what is said of text that is not as it should be."""

import re

import pytest
import torch
from golden_data import load_case
from hypothesis import given, settings
from hypothesis import strategies as st

from ait_hf.tokens import (
    PRESETS,
    TokenFormat,
    TokenVocabulary,
    answer_regex,
    check_formats_apart,
    get_preset,
    parse_text,
)
from ait_hf.tokens.token_format import NumberedTokens, any_of


PALIGEMMA = get_preset("paligemma-mask").token_format
MOLMOACT = get_preset("molmoact-depth").token_format
SMALL = {"num_codes": 12, "grid": (2, 3)}
FORMATS = {
    **{name: preset.token_format for name, preset in PRESETS.items()},
    "columns": TokenFormat(code="[d{}]", start="[map]", end="[/map]", order="columns", **SMALL),
    "blanks": TokenFormat(code="<d{:02d}>", start="<s>d", end="</s>d", token_separator=" ", **SMALL),
    "commas": TokenFormat(code="c{}c", token_separator=", ", block_separator=" | ", **SMALL),
    "no marks": TokenFormat(code="<d{}>", **SMALL),
    "start alone": TokenFormat(code="<d{}>", start="<d>", block_separator="\n", **SMALL),
    "marks and boxes": TokenFormat(
        code="<m{}>",
        start="<obj>",
        end="</obj>",
        location="<l{}>",
        location_order=("xmin", "ymin", "xmax", "ymax"),
        **SMALL,
    ),
}


@st.composite
def blocks_of(draw, token_format):
    count = draw(st.integers(1, 3))
    codes = st.integers(0, token_format.num_codes - 1)
    rows, columns = token_format.grid
    ids = torch.tensor(draw(st.lists(codes, min_size=count * rows * columns, max_size=count * rows * columns)))
    locations, labels = None, None
    if token_format.location is not None:
        side = st.lists(st.integers(0, token_format.num_locations - 1), min_size=2, max_size=2, unique=True).map(
            sorted
        )
        sides = [(draw(side), draw(side)) for _ in range(count)]
        locations = [[y[0], x[0], y[1], x[1]] for y, x in sides]
    if token_format.labels:
        words = st.text("abc xyz-2", min_size=1, max_size=12).filter(str.strip)
        labels = draw(st.lists(st.one_of(st.none(), words), min_size=count, max_size=count))
    return ids.view(count, rows, columns), locations, labels


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_ids_to_text_and_back(name, data):
    token_format = FORMATS[name]
    ids, locations, labels = data.draw(blocks_of(token_format))
    text = token_format.to_text(ids, locations, labels)
    assert re.fullmatch(token_format.loose_tokens.pattern, "") is None
    blocks = parse_text(text, token_format)
    assert torch.equal(torch.stack([block.ids for block in blocks]), ids)
    assert all(block.damage is None and not block.repairs for block in blocks)
    if locations is not None:
        assert [list(block.locations) for block in blocks] == locations
    if labels is not None:
        assert [block.label for block in blocks] == [label and label.strip() for label in labels]
    assert token_format.to_text(ids, locations, [block.label for block in blocks] if labels else None) == text
    spread = re.sub(token_format.loose_tokens, lambda match: f" {match[0]}\n", text)
    assert [block.ids.tolist() for block in parse_text(spread, token_format)] == ids.tolist()


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.start and not form.location])
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_blocks_amid_prose_and_as_one_regular_expression(name, data):
    token_format = FORMATS[name]
    ids, _, _ = data.draw(blocks_of(token_format))
    text = "The depth is " + ", then ".join(token_format.to_text(block) for block in ids) + ". Go on!"
    assert torch.equal(torch.stack([block.ids for block in parse_text(text, token_format)]), ids)
    assert re.fullmatch(answer_regex(token_format), text)
    assert not re.fullmatch(answer_regex(token_format, max_blocks=len(ids) - 1), text)
    first = token_format.codes.text(ids[0, 0, 0].item())
    assert not re.fullmatch(answer_regex(token_format), text.replace(first, "", 1))


def test_one_regular_expression_of_a_box_and_of_two_formats():
    ids, box = torch.arange(16).view(1, 4, 4), [[1, 2, 3, 1023]]
    text = PALIGEMMA.to_text(ids, box, ["cat"]) + " ; " + PALIGEMMA.to_text(locations=box)
    assert re.fullmatch(answer_regex(PALIGEMMA), text)
    both = answer_regex([PALIGEMMA, MOLMOACT])
    assert re.fullmatch(both, text + MOLMOACT.to_text(torch.zeros(100, dtype=torch.long)) + " done")
    for wrong in (
        text.replace("<seg003>", "<seg128>"),
        text.replace("<loc1023>", "<loc1024>"),
        text.replace("<seg000>", ""),
    ):
        assert not re.fullmatch(both, wrong)
    assert not re.search(r"\(\?[^:]", both)  # no looking around, no named groups


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 1200), digits=st.integers(0, 4))
def test_a_regular_expression_of_numbers(count, digits):
    tokens = NumberedTokens(f"<x{{:0{digits}d}}>" if digits else "<x{}>", count)
    assert all(re.fullmatch(tokens.regex(), token) for token in (tokens.text(0), tokens.text(count - 1)))
    for number in (count, count + 7, 10 * count):
        assert not re.fullmatch(tokens.regex(), tokens.text(number))
    assert len(tokens.regex()) < 120


@settings(deadline=None, max_examples=100)
@given(words=st.sets(st.text("ab.|", max_size=4), min_size=1, max_size=12), word=st.text("ab.|", max_size=4))
def test_any_of_matches_its_words_alone(words, word):
    assert bool(re.fullmatch(any_of(words), word)) == (word in words)


# The texts of the golden cases


# What NOTES.md recommends where the demo's parser fails: number of whole objects, of boxes alone, and of damaged ones.
OBJECTS = {
    "boxes_without_masks": (0, 2, 0),
    "mixed_box_and_mask": (1, 1, 0),
    "fifteen_codes": (0, 0, 1),
    "seventeen_codes": (0, 0, 1),
    "fifteen_codes_then_another": (1, 0, 1),
    "seventeen_codes_then_another": (1, 0, 1),
    "code_out_of_range_128": (0, 0, 1),
    "code_out_of_range_999": (0, 0, 1),
    "four_digit_code": (0, 0, 1),
    "x2_before_x1": (0, 0, 1),
    "y2_equals_y1": (0, 0, 1),
    "three_locs": (0, 0, 1),
    "five_locs": (0, 0, 1),
    "no_loc": (0, 0, 1),
    "three_digit_loc": (0, 0, 1),
    "loc_1024": (0, 0, 1),
    "loc_2000": (0, 0, 1),
    "truncated_last": (1, 0, 1),
    "no_object": (0, 0, 0),
    "empty": (0, 0, 0),
    "three_objects": (3, 0, 0),
    "three_objects_same_label": (3, 0, 0),
    "label_of_two_words": (2, 0, 0),
    "separator_without_spaces": (2, 0, 0),
    "no_separator": (2, 0, 0),
}


def test_the_texts_of_paligemma(golden_dir):
    case, _ = load_case(golden_dir, "10_paligemma_mask")
    for entry in case["text"]:
        blocks = parse_text(entry["text"], PALIGEMMA, strict=False)
        counts = (
            sum(block.damage is None and block.ids is not None for block in blocks),
            sum(block.damage is None and block.ids is None for block in blocks),
            sum(block.damage is not None for block in blocks),
        )
        assert counts == OBJECTS.get(entry["name"], (1, 0, 0)), entry["name"]
        assert not any(block.repairs for block in blocks)
        if counts[2] or not blocks:
            with pytest.raises(ValueError, match="^(Block 1|Block 2|The text has no block)"):
                parse_text(entry["text"], PALIGEMMA)
        else:
            assert parse_text(entry["text"], PALIGEMMA)[0].label == blocks[0].label
        if "cat" in entry["text"] and entry["name"] != "newline_before":
            assert "cat" in [block.label for block in blocks]
    label = parse_text("<loc0001><loc0002><loc0003><loc0004> hot dog ;", PALIGEMMA)[0].label
    assert label == "hot dog"
    box = "<loc0001><loc0002><loc0003><loc0004>"
    assert parse_text(f"{box}\ncat\n\nThat is all.", PALIGEMMA)[0].label == "cat"
    with pytest.raises(ValueError, match="one line"):
        PALIGEMMA.to_text(locations=[1, 2, 3, 4], labels=["cat\ndog"])


@pytest.mark.parametrize(
    "name, reason",
    [
        ("fifteen_codes", "15 codes instead of 16"),
        ("seventeen_codes", "17 codes instead of 16"),
        ("code_out_of_range_128", "<seg128> is out of range: codes are 0 to 127"),
        ("four_digit_code", "is not written as <seg"),
        ("x2_before_x1", "the box is empty: xmax 300 is not above xmin 800"),
        ("y2_equals_y1", "the box is empty: ymax 400 is not above ymin 400"),
        ("three_locs", "3 location tokens instead of 4"),
        ("five_locs", "5 location tokens instead of 4"),
        ("no_loc", "0 location tokens instead of 4"),
        ("three_digit_loc", "<loc100> is not written as <loc0100>"),
        ("loc_1024", "<loc1024> is out of range: locations are 0 to 1023"),
        ("truncated_last", "9 codes instead of 16"),
    ],
)
def test_a_damaged_object_says_why(golden_dir, name, reason):
    case, _ = load_case(golden_dir, "10_paligemma_mask")
    (entry,) = [entry for entry in case["text"] if entry["name"] == name]
    damaged = [block for block in parse_text(entry["text"], PALIGEMMA, strict=False) if block.damage]
    assert len(damaged) == 1 and reason in damaged[0].damage
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_text(entry["text"], PALIGEMMA)


def test_the_texts_of_molmoact(golden_dir):
    """Every block by itself, wherever it stands; what is no block is refused."""
    case, _ = load_case(golden_dir, "11_molmoact_depth")
    three = TokenFormat(code="<DEPTH_{}>", num_codes=128, grid=(1, 3), start="<DEPTH_START>", end="<DEPTH_END>")
    for entry in case["parse"]["cases"]:
        text, inner = entry["text"], entry["extract_inner"]["result"]
        blocks = parse_text(text, three, strict=False)
        good = [block.ids.flatten().tolist() for block in blocks if block.ids is not None and not block.repairs]
        whole = [part for part in inner or [] if part.count("<") == 3 and "128" not in part and "-1" not in part]
        assert good == [[12, 7, 127]] * len(whole), text
        if "007" not in text and not whole:
            with pytest.raises(ValueError):
                parse_text(text, three)
    leading = "<DEPTH_START><DEPTH_007><DEPTH_1><DEPTH_2><DEPTH_END>"
    (block,) = parse_text(leading, three, strict=False)
    assert block.ids.tolist() == [[7, 1, 2]] and block.repairs == ["<DEPTH_007> was read as <DEPTH_7>"]
    with pytest.raises(ValueError, match="<DEPTH_007> was read as <DEPTH_7>"):
        parse_text(leading, three)


def test_what_molmoact_2_writes(golden_dir):
    case, _ = load_case(golden_dir, "11_molmoact_depth")
    form = TokenFormat(code="<depth_{}>", num_codes=128, grid=(1, 3), start="<depth_start>", end="<depth_end>")
    for entry in case["build"]["cases"]:
        ids = entry["ids"]
        if ids and len(ids) == 3:
            assert form.to_text(ids) == entry["result"]
        else:
            with pytest.raises(ValueError, match="codes"):
                form.to_text(ids)
    with pytest.raises(ValueError, match="0 to 127, got 128"):
        form.to_text([1, 2, 128])
    with pytest.raises(ValueError, match="Codes are integers"):
        form.to_text([1.0, 2.0, 3.9])


def test_ids_of_tokens_as_blocks(golden_dir):
    case, _ = load_case(golden_dir, "11_molmoact_depth")
    for entry in case["extract"]["cases"]:
        bins = entry["bins"]
        if entry["name"] == "no_start":  # an end mark ends a block here also where there was no start mark
            bins = bins[:2]
        form = TokenFormat(
            code="<d{}>", num_codes=128, grid=(1, max(len(bins), 1)), start="<depth_start>", end="<depth_end>"
        )
        vocabulary = TokenVocabulary(form, codes=range(1003, 1131), start=1001, end=1002)
        blocks = [block for block in vocabulary.parse(entry["token_ids"], strict=False) if block.ids is not None]
        if entry["name"] == "end_before_start":  # the stray codes before are a block of their own, of the wrong length
            bins = [0]
        assert not bins or blocks[0].ids.flatten().tolist() == bins, entry["name"]
        if entry["name"] == "plain":
            assert blocks[0].span == (1, 6) and not blocks[0].repairs
        elif entry["name"] != "two_spans":
            assert entry["name"] == "empty" or blocks[0].repairs


# Repairs


def depth_text(codes) -> str:
    return "<DEPTH_START>" + "".join(f"<DEPTH_{code}>" for code in codes) + "<DEPTH_END>"


def test_too_few_and_too_many_codes():
    grid = torch.arange(100).view(10, 10)
    short, long = depth_text(range(98)), depth_text([*range(100), 5, 6])
    for text, count in ((short, 98), (long, 102)):
        with pytest.raises(ValueError, match=f"^Block 1 of the text: {count} codes instead of 100"):
            parse_text(text, MOLMOACT)
        (block,) = parse_text(text, MOLMOACT, strict=False)
        assert block.ids is None and block.damage == f"{count} codes instead of 100"
    (cut,) = parse_text(long, MOLMOACT, strict=False, fill="edge")
    assert torch.equal(cut.ids, grid) and cut.repairs == ["102 codes instead of 100", "what was too much was cut off"]
    previous = torch.full((10, 10), 77)
    for fill, expected in (("edge", [88, 89]), (3, [3, 3]), (previous, [77, 77])):
        (filled,) = parse_text(short, MOLMOACT, strict=False, fill=fill)
        assert filled.ids.flatten().tolist() == [*range(98), *expected] and filled.damage is None
        assert filled.repairs[0] == "98 codes instead of 100" and filled.repairs[1].startswith(
            "what was missing was fill"
        )


def test_codes_out_of_range_are_filled_from_their_neighbours():
    codes = list(range(100))
    codes[55] = 999
    text = depth_text(codes)
    with pytest.raises(ValueError, match="<DEPTH_999> is out of range: codes are 0 to 127"):
        parse_text(text, MOLMOACT)
    (block,) = parse_text(text, MOLMOACT, strict=False, fill="edge")
    assert block.ids[5, 5] == 45 and block.ids.flatten()[54] == 54
    (empty,) = parse_text("<DEPTH_START><DEPTH_END>", MOLMOACT, strict=False, fill="edge")
    assert empty.ids is None and "no code to fill" in empty.damage
    (block,) = parse_text("<DEPTH_START><DEPTH_END>", MOLMOACT, strict=False, fill=4)
    assert (block.ids == 4).all()


@pytest.mark.parametrize(
    "text, repair",
    [
        (depth_text(range(100)).removesuffix("<DEPTH_END>") + " and so on", "the end mark <DEPTH_END> is missing"),
        ("It is " + depth_text(range(100)).removeprefix("<DEPTH_START>"), "the start mark <DEPTH_START> is missing"),
        (
            depth_text(range(100)).replace("<DEPTH_9>", "<DEPTH_9> er "),
            "foreign text 'er' among the tokens was passed over",
        ),
    ],
)
def test_marks_and_foreign_text(text, repair):
    with pytest.raises(ValueError, match=re.escape(repair)):
        parse_text(text, MOLMOACT)
    (block,) = parse_text(text, MOLMOACT, strict=False)
    assert block.ids.flatten().tolist() == list(range(100)) and block.repairs == [repair]


def test_a_cut_off_block_before_a_whole_one():
    text = depth_text(range(100)).removesuffix("<DEPTH_99><DEPTH_END>") + depth_text(range(100))
    blocks = parse_text(text, MOLMOACT, strict=False)
    assert [block.damage for block in blocks] == ["99 codes instead of 100", None]
    assert text[slice(*blocks[1].span)] == depth_text(range(100))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"code": "<seg>"}, "one field"),
        ({"code": "<{}{}>"}, "one field"),
        ({"code": "{}"}, "text before and behind"),
        ({"code": "<d1{}>"}, "no digit"),
        ({"code": "<d{:3}>"}, "one field"),
        ({"grid": (0, 3)}, "at least 1"),
        ({"order": "diagonal"}, "one of rows, columns"),
        ({"start": "<a>", "end": "<a>"}, "<a> is there twice"),
        ({"location": "<d{}>"}, "<d0> is there twice"),
        ({"end": "<a>"}, "needs a start mark"),
        ({"start": " "}, "must not be empty"),
        ({"location": "<l{}>", "location_order": ("xmin", "ymin", "xmax", "xmax")}, "once"),
    ],
)
def test_formats_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        TokenFormat(**({"code": "<d{}>", **SMALL} | arguments))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "give locations"),
        ({"ids": torch.zeros(1, 15, dtype=torch.long), "locations": [1, 2, 3, 4]}, r"4 x 4 = 16 codes.*\(1, 15\)"),
        ({"ids": torch.zeros(16, dtype=torch.long) - 1, "locations": [1, 2, 3, 4]}, "got -1"),
        ({"ids": torch.zeros(16, dtype=torch.long), "locations": [1, 2, 3, 1024]}, "0 to 1023, got 1024"),
        ({"ids": torch.zeros(16, dtype=torch.long), "locations": [0.1, 0.2, 0.3, 0.4]}, "whole numbers"),
        ({"locations": [1, 2, 3, 4], "labels": ["a ; b"]}, "separator"),
        ({"locations": [1, 2, 3, 4], "labels": ["a", "b"]}, "1 blocks, 1 boxes and 2 labels"),
        ({"locations": [1, 2, 3, 4], "labels": ["<seg001>"]}, "tokens of the format, got .<seg001>"),
    ],
)
def test_blocks_that_do_not_fit_the_format(arguments, message):
    with pytest.raises(ValueError, match=message):
        PALIGEMMA.to_text(**arguments)


def test_formats_that_share_tokens():
    check_formats_apart([PALIGEMMA, MOLMOACT, get_preset("molmoact2-depth").token_format])
    with pytest.raises(ValueError, match="Formats 1 and 2 share tokens, such as <DEPTH_START>"):
        check_formats_apart([MOLMOACT, get_preset("aurora-depth").token_format])


def test_a_format_as_a_file(tmp_path):
    for name, token_format in FORMATS.items():
        token_format.save_pretrained(tmp_path / name)
        assert TokenFormat.from_pretrained(tmp_path / name) == token_format
    with pytest.raises(FileNotFoundError, match="token_format.json"):
        TokenFormat.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no field 'grids'"):
        TokenFormat.from_dict({"code": "<d{}>", "num_codes": 3, "grids": [1, 1]})
    (tmp_path / "token_format.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        TokenFormat.from_pretrained(tmp_path)


SOUP = st.sampled_from(
    ["start", "end", "prefix", "code", "code", "code", "bad code", "location", "bad location", "text"]
)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=60)
@given(kinds=st.lists(SOUP, max_size=30), seed=st.integers(0, 9), fill=st.sampled_from([None, "edge", 3]))
def test_any_soup_of_tokens_is_read_or_refused(name, kinds, seed, fill):
    token_format, draws = FORMATS[name], torch.Generator().manual_seed(seed)

    def number(count: int) -> int:
        return int(torch.randint(count, (), generator=draws))

    def token(kind: str) -> str:
        if kind in ("start", "end", "prefix"):
            return getattr(token_format, kind) or " "
        if "location" in kind and token_format.locations is not None:
            return token_format.locations.text(number(token_format.num_locations) + (9999 if "bad" in kind else 0))
        if "code" in kind:
            return token_format.codes.text(number(token_format.num_codes) + (999 if "bad" in kind else 0))
        return " some text; and | more "

    text = "".join(map(token, kinds))
    blocks = parse_text(text, token_format, strict=False, fill=fill)
    for block in blocks:
        assert 0 <= block.span[0] < block.span[1] <= len(text)
        assert block.damage is None or block.damage
        if block.ids is not None:
            assert block.ids.shape == token_format.grid
            assert block.ids.min() >= 0 and block.ids.max() < token_format.num_codes
        if block.damage is None and token_format.location is not None:
            assert block.locations[0] < block.locations[2] and block.locations[1] < block.locations[3]
        if block.damage is None and token_format.location is None:
            assert block.ids is not None
    good = bool(blocks) and not any(block.damage or block.repairs for block in blocks)
    if good and fill is None:
        strict = parse_text(text, token_format)
        assert [block.span for block in strict] == [block.span for block in blocks]
    elif not good:
        with pytest.raises(ValueError):
            parse_text(text, token_format)
