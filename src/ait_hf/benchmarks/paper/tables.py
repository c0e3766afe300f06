# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's tables, with its numbers and its claims."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .variants import MASK_RATIOS, VARIANTS, named
from .verdicts import Alike, Better, Cell, Claim


HARD, IN_DETOKENIZER, IN_SOLVER = "hard", "soft in the detokenizer", "soft in the solver"
SOFT, SOFT_PARALLEL, REBUILT = "soft in both", "soft", "reconstruction"
RMSE, IN_HOLES, DISTANCE = "depth/rmse", "depth/hole_rmse", "depth/token_distance"
BOX, MASK = "instance-segmentation/bbox_AP", "instance-segmentation/segm_AP"
MASK50 = "instance-segmentation/segm_AP50"
POSE, MIOU = "keypoint-detection/AP", "semantic-segmentation/mIoU"


@dataclass(frozen=True)
class Line:
    """
    Args:
        title: What it compares.
        cells: A number for each column; `None` where the paper has none, or we have none.
        printed: The paper's numbers, as printed.
    """

    title: str
    cells: tuple[Cell | None, ...]
    printed: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """
    Args:
        names: What `--table` calls it: the numbers of the paper's tables that it stands for, or a word for what is beyond it.
        title: What it is about.
        columns: Their heads.
        lines, claims: What it has to say.
        note: What differs from the paper.
    """

    names: tuple[str, ...]
    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    claims: tuple[Claim, ...]
    note: str = ""

    @property
    def cells(self) -> Iterator[Cell]:
        for line in self.lines:
            yield from (cell for cell in line.cells if cell is not None)
        for claim in self.claims:
            yield from claim.cells

    @property
    def variants(self) -> list[str]:
        """All that has to be trained for it, tokenizers first."""
        asked = {cell.variant for cell in self.cells}
        asked |= {name for variant in asked for name in VARIANTS[variant].tokenizers.values()}
        return [name for name in VARIANTS if name in asked]


def _depth(variant: str = "", mode: str = SOFT, metric: str = RMSE) -> Cell:
    return Cell(named("depth", variant), mode, metric)


def _instances(variant: str = "", mode: str = SOFT, metric: str = MASK) -> Cell:
    return Cell(named("instances", variant), mode, metric)


def _rebuilt_depth(variant: str = "", metric: str = RMSE) -> Cell:
    return Cell(named("depth-tokenizer", variant), REBUILT, metric)


def _rebuilt_masks(variant: str = "") -> Cell:
    return Cell(named("mask-tokenizer", variant), REBUILT, MASK)


def _joint(variant: str) -> tuple[Cell, ...]:
    return tuple(Cell(named("joint", variant), SOFT, metric) for metric in (RMSE, BOX, MASK))


def _speed(variant: str) -> tuple[Cell, Cell]:
    name = named("speed", variant)
    return Cell(name, SOFT_PARALLEL, RMSE), Cell(name, SOFT_PARALLEL, MASK50)


def _tokenizer_and_solver(
    numbers: tuple[str, str],
    what: str,
    names: dict[str, str],
    printed: Sequence[tuple[str, ...]],
    claims: tuple[Claim, ...],
) -> Table:
    """A pair of tables of the paper: the tokenizer alone, and the task-solver on it, for depth and masks."""
    lines = []
    for (title, name), of_line in zip(names.items(), printed, strict=True):
        solver = _depth(name), _instances(name, metric=BOX), _instances(name)
        lines.append(Line(title, (_rebuilt_depth(name), _rebuilt_masks(name), *solver), of_line))
    columns = ("rebuilt: depth RMSE", "rebuilt: mask AP", "solver: depth RMSE", "solver: box AP", "solver: mask AP")
    return Table(numbers, what, columns, tuple(lines), claims)


def _depth_alone(
    numbers: tuple[str, ...],
    what: str,
    names: dict[str, str],
    printed: Sequence[tuple[str, ...]],
    claims: tuple[Claim, ...],
    note: str = "",
) -> Table:
    """The tokenizer alone, and the task-solver on it, for depth."""
    found = zip(names.items(), printed, strict=True)
    lines = tuple(Line(title, (_rebuilt_depth(name), _depth(name)), of_line) for (title, name), of_line in found)
    return Table(numbers, what, ("rebuilt: depth RMSE", "solver: depth RMSE"), lines, claims, note)


def _mask_augmentation(
    what: str, names: dict[str, str], printed: Sequence[tuple[str, ...]] = (("", ""),) * 4, note: str = ""
) -> Table:
    """Table 11, of tokenizers with these ratios, and what it does not have: the error in holes."""
    none, _, half, _ = names.values()
    lines = []
    for (title, name), of_line in zip(names.items(), printed, strict=True):
        in_holes = _rebuilt_depth(name, IN_HOLES), _depth(name, metric=IN_HOLES)
        lines.append(Line(f"ratio {title}", (_rebuilt_depth(name), _depth(name), *in_holes), (*of_line, "", "")))
    columns = ("rebuilt: RMSE", "solver: RMSE", "rebuilt: RMSE in holes", "solver: RMSE in holes")
    claims = (
        *(
            Better(f"a higher ratio costs reconstruction: {low} against {high}", *map(_rebuilt_depth, pair))
            for (low, high), pair in zip(pairwise(names), pairwise(names.values()), strict=True)
        ),
        *(
            Better(f"a ratio of .5 serves the solver better than {title}", _depth(half), _depth(name))
            for title, name in names.items()
            if name != half
        ),
        Better("it fills holes better (Figure 2)", _rebuilt_depth(half, IN_HOLES), _rebuilt_depth(none, IN_HOLES)),
    )
    return Table(("11",), what, columns, tuple(lines), claims, note)


_CODES = {"64 codes": "64-codes", "128 codes": "", "256 codes": "256-codes"}
_WIDTHS = {"width 1/2": "half-width", "width 1": "", "width 2": "double-width"}
_BLOCKS = {"2 blocks": "", "3 blocks": "3-blocks", "4 blocks": "4-blocks", "5 blocks": "5-blocks"}
_RATIOS = {"16 pixels a code": "16-pixels", "8 pixels a code": "", "4 pixels a code": "4-pixels"}
_TWICE = {
    "128 codes": "twice",
    "256 codes": "twice-256-codes",
    "128 codes, no mask augmentation": "twice-mask-0.0",
    "128 codes by FSQ": "twice-fsq",
}
_AIT_TWICE, _AIT_P_TWICE = _depth("auxiliary-twice"), _depth("parallel-twice", SOFT_PARALLEL)
_BOTH_WAYS = _depth("parallel-both-ways", SOFT_PARALLEL), _instances("parallel-both-ways", SOFT_PARALLEL)
_SPEEDS = {
    "as in the demo": "",
    "AdamW for all": "adamw",
    "auxiliary losses": "auxiliary",
    "each task its own images": "own-images",
    "ever new rooms": "new-rooms",
    "8 rooms a step": "8-rooms",
    "32 rooms a step": "32-rooms",
    "the rate rises for 3 of 10 steps, not for 1 of 20": "long-rise",
    "attention both ways in a block": "both-ways",
    "bfloat16 in the whole solver": "bf16",
}


TABLES = (
    Table(
        ("1",),
        "Distance of hard and soft tokens from the true ones",
        ("l2 distance", "depth RMSE"),
        (
            Line("hard", (_depth(mode=HARD, metric=DISTANCE), _depth(mode=HARD)), ("4.78", "0.3182")),
            Line("soft", (_depth(metric=DISTANCE), _depth()), ("4.52", "0.3080")),
        ),
        (
            Better("soft tokens are nearer", _depth(metric=DISTANCE), _depth(mode=HARD, metric=DISTANCE)),
            Better("and their depth is better", _depth(), _depth(mode=HARD)),
        ),
    ),
    _tokenizer_and_solver(
        ("2", "3"),
        "Size of the codebook",
        _CODES,
        (
            ("0.1025", "88.94", "0.3090", "43.5", "33.0"),
            ("0.0966", "89.34", "0.3080", "43.6", "33.2"),
            ("0.0902", "90.22", "0.3119", "43.4", "33.4"),
        ),
        (
            *(
                Better(f"{more} rebuild {what} better than {fewer}", make(_CODES[more]), make(_CODES[fewer]))
                for what, make in (("depth", _rebuilt_depth), ("masks", _rebuilt_masks))
                for fewer, more in pairwise(_CODES)
            ),
            Alike("it makes no difference to the solver's depth", tuple(map(_depth, _CODES.values()))),
            Alike("nor to its masks", tuple(map(_instances, _CODES.values()))),
        ),
    ),
    _tokenizer_and_solver(
        ("4", "5"),
        "Width of the tokenizer",
        _WIDTHS,
        (
            ("0.1196", "88.97", "0.3127", "43.4", "33.1"),
            ("0.0966", "89.34", "0.3080", "43.6", "33.2"),
            ("0.1025", "90.92", "0.3124", "43.2", "33.1"),
        ),
        (
            Better("width 1 rebuilds depth better than 1/2", _rebuilt_depth(), _rebuilt_depth("half-width")),
            Better(
                "width 2 rebuilds masks better than 1/2", _rebuilt_masks("double-width"), _rebuilt_masks("half-width")
            ),
            Alike("it makes no difference to the solver's depth", tuple(map(_depth, _WIDTHS.values()))),
            Alike("nor to its masks", tuple(map(_instances, _WIDTHS.values()))),
        ),
    ),
    _depth_alone(
        ("6",),
        "Residual blocks of the tokenizer",
        _BLOCKS,
        (("0.0966", "0.3080"), ("0.1055", "0.3123"), ("0.1082", "0.3136"), ("0.1033", "0.3118")),
        tuple(
            Better(f"2 blocks {what} better than {number}", make(), make(f"{number}-blocks"))
            for what, make in (("rebuild depth", _rebuilt_depth), ("serve the solver", _depth))
            for number in (3, 4, 5)
        ),
    ),
    _depth_alone(
        ("7", "8"),
        "Pixels a code of depth",
        _RATIOS,
        (("0.0966", "0.3080"), ("0.0696", "0.3304"), ("0.0515", "0.3514")),
        (
            Better(
                "depth is rebuilt better with 8 pixels a code than with 16",
                _rebuilt_depth(),
                _rebuilt_depth("16-pixels"),
            ),
            Better("and better with 4 than with 8", _rebuilt_depth("4-pixels"), _rebuilt_depth()),
            Better("the solver's depth is better with 16 pixels a code than with 8", _depth("16-pixels"), _depth()),
            Better("and better with 8 than with 4", _depth(), _depth("4-pixels")),
        ),
        "16, 8 and 4 pixels of 64 stand for the paper's 32, 16 and 8 of 480.",
    ),
    Table(
        ("7", "8"),
        "Pixels a code of masks",
        ("rebuilt: mask AP", "solver: box AP", "solver: mask AP"),
        tuple(
            Line(title, (_rebuilt_masks(name), _instances(name, metric=BOX), _instances(name)), printed)
            for title, name, printed in (
                ("32 pixels a code", "32-pixels", ("70.91", "42.7", "30.3")),
                ("16 pixels a code", "", ("89.34", "43.6", "33.2")),
            )
        ),
        (
            Better(
                "masks are rebuilt better with 16 pixels a code than with 32",
                _rebuilt_masks(),
                _rebuilt_masks("32-pixels"),
            ),
            Better("and the solver's masks are better", _instances(), _instances("32-pixels")),
        ),
        note="Masks have 32 pixels here, 64 in the paper: 1 and 4 codes stand for its 4 and 16.",
    ),
    Table(
        ("9",),
        "Soft tokens",
        ("depth RMSE", "box AP", "mask AP"),
        tuple(
            Line(title, (_depth(name, mode), _instances(name, mode, BOX), _instances(name, mode)), printed)
            for title, name, mode, printed in (
                ("hard", "", HARD, ("0.3174", "43.6", "31.1")),
                ("soft in the solver", "", IN_SOLVER, ("0.3127", "43.5", "32.1")),
                ("soft in the detokenizer", "", IN_DETOKENIZER, ("0.3120", "43.6", "32.3")),
                ("soft in both", "", SOFT, ("0.3080", "43.6", "33.2")),
                ("soft in both, auxiliary loss", "auxiliary", SOFT, ("0.3052", "43.3", "34.2")),
            )
        ),
        tuple(
            Better(f"{text}, {what}", make(*better), make(*worse))
            for what, make in (("depth", _depth), ("masks", _instances))
            for text, better, worse in (
                ("soft tokens in the solver help", ("", IN_SOLVER), ("", HARD)),
                ("soft tokens in the detokenizer help", ("", IN_DETOKENIZER), ("", HARD)),
                ("both help more than the solver alone", ("",), ("", IN_SOLVER)),
                ("both help more than the detokenizer alone", ("",), ("", IN_DETOKENIZER)),
                ("the auxiliary loss helps beyond that", ("auxiliary",), ("",)),
            )
        ),
    ),
    Table(
        ("10",),
        "Parallel and autoregressive, poses, masks and semantics",
        ("keypoint AP", "mask AP", "mIoU"),
        tuple(
            Line(title, cells, printed)
            for title, cells, printed in (
                (
                    "AiT",
                    (Cell("poses", SOFT, POSE), _instances("auxiliary"), Cell("semantics", SOFT, MIOU)),
                    ("67.5", "34.2", "unstable"),
                ),
                (
                    "AiT-P",
                    (
                        Cell("poses-parallel", SOFT_PARALLEL, POSE),
                        _instances("parallel", SOFT_PARALLEL),
                        Cell("semantics-parallel", SOFT_PARALLEL, MIOU),
                    ),
                    ("77.4", "35.2", "50.1"),
                ),
            )
        ),
        (
            Better("AiT-P is better, poses", Cell("poses-parallel", SOFT_PARALLEL, POSE), Cell("poses", SOFT, POSE)),
            Better("AiT-P is better, masks", _instances("parallel", SOFT_PARALLEL), _instances("auxiliary")),
            Better(
                "AiT-P is better, semantics",
                Cell("semantics-parallel", SOFT_PARALLEL, MIOU),
                Cell("semantics", SOFT, MIOU),
            ),
        ),
    ),
    _mask_augmentation(
        "Mask augmentation of the depth tokenizer",
        {"0": "mask-0.0", ".3": "mask-0.3", ".5": "", ".7": "mask-0.7"},
        printed=(("0.0831", "0.3105"), ("0.0893", "0.3093"), ("0.0966", "0.3080"), ("0.1196", "0.3225")),
        note="Rendered rooms know the depth in holes, which the paper's data do not.",
    ),
    _mask_augmentation(
        "Mask augmentation, if 3 to 6 of 10 pixels are unknown",
        {f"{ratio:g}".removeprefix("0") or "0": f"large-holes-mask-{ratio}" for ratio in MASK_RATIOS},
        note="The sensor of other tables leaves out 5 to 15 %, in small holes.",
    ),
    Table(
        ("12",),
        "Parallel and autoregressive, depth",
        ("depth RMSE",),
        (
            Line("AiT", (_depth("auxiliary"),), ("0.305",)),
            Line("AiT-P", (_depth("parallel", SOFT_PARALLEL),), ("0.301",)),
            Line("AiT-P, hard", (_depth("parallel", HARD),), ("0.282 (SwinV2-L: 0.275 soft)",)),
        ),
        (
            Better("AiT-P is better", _depth("parallel", SOFT_PARALLEL), _depth("auxiliary")),
            Better("soft tokens help AiT-P", _depth("parallel", SOFT_PARALLEL), _depth("parallel", HARD)),
        ),
    ),
    Table(
        ("13",),
        "One model for two tasks",
        ("depth RMSE", "box AP", "mask AP"),
        (
            Line(
                "separate",
                (_depth("auxiliary"), _instances("auxiliary", metric=BOX), _instances("auxiliary")),
                ("0.3052", "43.3", "34.2"),
            ),
            Line("joint", _joint(""), ("0.3103", "42.2", "34.1")),
            Line("joint, depth weighing 1", _joint("even"), ("", "", "")),
        ),
        tuple(
            Alike(f"{text}, {what}", (alone, joint))
            for text, name in (
                ("joint training costs next to nothing", ""),
                ("joint training costs next to nothing if depth weighs 1", "even"),
            )
            for what, alone, joint in (
                ("depth", _depth("auxiliary"), _joint(name)[0]),
                ("masks", _instances("auxiliary"), _joint(name)[-1]),
            )
        ),
        note="The joint model sees as many samples of each task as the separate ones. Depth weighs .2 in it, as published.",
    ),
    Table(
        ("beyond",),
        "Beyond the paper",
        ("depth RMSE", "mask AP", "rebuilt: depth RMSE"),
        tuple(
            Line(title, cells, ("", "", ""))
            for title, cells in (
                ("AiT", (_depth(), None, _rebuilt_depth())),
                ("AiT, a tenth of the codes drawn at random in training", (_depth("noise"), None, None)),
                ("AiT, FSQ instead of a codebook", (_depth("fsq"), None, _rebuilt_depth("fsq"))),
                ("AiT-P", (_depth("parallel", SOFT_PARALLEL), _instances("parallel", SOFT_PARALLEL), None)),
                ("AiT-P, attention both ways in a block", (*_BOTH_WAYS, None)),
            )
        ),
        (
            Better("noise in the codes helps AiT", _depth("noise"), _depth()),
            Better("FSQ rebuilds depth better", _rebuilt_depth("fsq"), _rebuilt_depth()),
            Better("FSQ serves the solver better", _depth("fsq"), _depth()),
            Better("attention both ways helps AiT-P, depth", _BOTH_WAYS[0], _depth("parallel", SOFT_PARALLEL)),
            Better("attention both ways helps AiT-P, masks", _BOTH_WAYS[1], _instances("parallel", SOFT_PARALLEL)),
        ),
    ),
    Table(
        ("twice",),
        "Tokenizers of depth with twice the steps",
        ("RMSE", "RMSE in holes"),
        tuple(
            Line(title, (_rebuilt_depth(name), _rebuilt_depth(name, IN_HOLES)), ("", ""))
            for title, name in _TWICE.items()
        ),
        (
            Better(
                "256 codes rebuild depth better than 128", _rebuilt_depth("twice-256-codes"), _rebuilt_depth("twice")
            ),
            Better(
                "mask augmentation fills holes better",
                _rebuilt_depth("twice", IN_HOLES),
                _rebuilt_depth("twice-mask-0.0", IN_HOLES),
            ),
            Better("FSQ rebuilds depth better", _rebuilt_depth("twice-fsq"), _rebuilt_depth("twice")),
        ),
        note="Of what does not hold elsewhere: whether more steps change it. With 600 steps: Tables 2, 11 and beyond the paper.",
    ),
    Table(
        ("twice",),
        "Task-solvers with twice the steps",
        ("depth RMSE",),
        (Line("AiT", (_AIT_TWICE,), ("",)), Line("AiT-P", (_AIT_P_TWICE,), ("",))),
        (Better("AiT-P is better", _AIT_P_TWICE, _AIT_TWICE),),
        note="Of what does not hold elsewhere: whether more steps change it. Half as many: Table 12.",
    ),
    Table(
        ("speed",),
        "How AiT-P learns fastest, in the same time on one CPU core",
        ("depth RMSE", "mask AP50"),
        tuple(Line(title, _speed(name), ("", "")) for title, name in _SPEEDS.items()),
        tuple(
            Better(f"{text}, {what}", better, worse)
            for text, name in (
                ("Muon for matrices is better than AdamW for all", "adamw"),
                ("codes alone are learnt sooner than with auxiliary losses", "auxiliary"),
                ("two tasks learn sooner from the same images, encoded once", "own-images"),
                ("rooms that come again are better than fewer steps with ever new ones", "new-rooms"),
                ("16 rooms a step are better than 8", "8-rooms"),
                ("16 rooms a step are better than 32", "32-rooms"),
                ("a short rise of the rate is better than a long one", "long-rise"),
            )
            for what, better, worse in zip(("depth", "masks"), _speed(""), _speed(name), strict=True)
        )
        + tuple(
            Better(f"{text}, {what}", better, worse)
            for text, name in (("attention both ways helps", "both-ways"), ("bfloat16 helps", "bf16"))
            for what, better, worse in zip(("depth", "masks"), _speed(name), _speed(""), strict=True)
        ),
        note="The demo's model. Each is given as many steps as fit into the same minutes, half of what other solvers have.",
    ),
)
