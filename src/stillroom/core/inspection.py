"""What `stillroom inspect` leaves in inspection.json. Reading it needs neither torch nor the models.

Every part is absent (None) until it was asked for. A number is None where it could not be had: a mean over no
batches, a loss that is not finite.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from stillroom.core.errors import BadInput
from stillroom.core.record import write_text_atomically


@dataclass
class Place:
    """A point of a training: its name, its step, and the share of all steps (0 to 1; None for a recipe)."""

    name: str
    step: int
    share: float | None = None


@dataclass
class GradientPair:
    """Gradients of two terms with respect to the student's parameters, over `batches` batches.

    `cosine` and its standard deviation; `opposition` = 1 - cosine; `conflict_rate`, the share of batches with a
    negative cosine; `norm_ratio`, the geometric mean of the first norm over the second one.
    """

    first: str
    second: str
    batches: int
    cosine: float | None = None
    cosine_sd: float | None = None
    absolute_cosine: float | None = None
    opposition: float | None = None
    conflict_rate: float | None = None
    norm_ratio: float | None = None


@dataclass
class Gradients:
    """All pairs of terms at one place of training, by group of parameters ("all", "query and key", "block 1")."""

    place: Place
    norms: dict[str, float | None]
    """Mean norm of every term's gradient over all parameters of the student."""
    groups: dict[str, list[GradientPair]]


@dataclass
class Interference:
    """`terms` as they enter the training loss; `batches` of `batch_size` training samples, drawn with `seed`."""

    terms: list[str]
    batches: int
    batch_size: int
    seed: int
    places: list[Gradients]
    notes: list[str] = field(default_factory=list)


@dataclass
class Separation:
    """How well features of one model fall apart by granularity: silhouettes from -1 to 1.

    `shuffled`: the same features with labels at random. `by_construction`: one and the same feature, sent through an
    unrelated random projection for each granularity.
    """

    side: str
    space: str
    silhouette: float
    shuffled: float
    by_construction: float | None
    cosine_between: float | None
    """Mean cosine of two granularities of one sample."""
    cosine_between_sd: float | None
    cosine_within: float | None
    """Mean cosine of two samples in one granularity: what any two vectors of this space have in common."""


@dataclass
class Scatter:
    """Features in two dimensions: `space` is before or after projection, `method` PCA or t-SNE. `points` by
    "side/granularity" are pairs of coordinates."""

    space: str
    method: str
    points: dict[str, list[tuple[float, float]]]


@dataclass
class Features:
    objective: str
    place: Place
    samples: int
    granularities: list[str]
    separations: list[Separation]
    scatters: list[Scatter]
    notes: list[str] = field(default_factory=list)


@dataclass
class Course:
    """Losses along one line through parameter space: nats per response token at every `alpha`."""

    name: str
    alphas: list[float]
    losses: list[float | None]
    curvature: float | None = None
    """Second difference of the loss at alpha = 0, in nats per unit of alpha squared."""


@dataclass
class Landscape:
    place: Place
    samples: int
    seed: int
    directions: list[Course]
    interpolation: Course | None = None
    """From the student before training (alpha 0) to the one after it (1)."""
    notes: list[str] = field(default_factory=list)


LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Which quantiles `Merge` has of a share."""


@dataclass
class Merge:
    """Teacher heads that become one head of the student, over samples. Heads count from 0."""

    head: int
    partners: list[int]
    quantiles: list[list[float]]
    """For each partner, of its best share without bounds, at `LEVELS`. Of a pair the first one's is alpha."""
    outside: float
    """Share of the samples in which one of those was below 0."""


@dataclass
class LayerMerges:
    """All merges of a pair of layers; None where nothing is merged, or shares are the same for every text.

    `lost`, by way of merging, is the share of what the heads write together, in squares, that the merge gets wrong:
    with the objective's own shares, equal ones, and one head alone in place of all (mean over the heads).
    """

    layer: int
    partner: int
    merges: list[Merge]
    outside: float | None
    lost: dict[str, float]


@dataclass
class HeadPicture:
    """Maps of a student head and of the teacher heads that become it, on the tokens of a `Sentence`.

    A map is a row of text for each token: thousandths of its attention, to all tokens before the first shown one
    together, then to each one from there to itself. `divergence` of the merged map from the student's: mean over all
    rows of the text that count, in nats.
    """

    head: int
    partners: list[int]
    shares: list[float]
    divergence: float | None
    teacher: list[list[str]]
    merged: list[str]
    student: list[str]


@dataclass
class LayerPicture:
    layer: int
    partner: int
    heads: list[HeadPicture]


@dataclass
class Sentence:
    """A text with the maps of some layers on `tokens`, those from position `first`; both models read all `length`."""

    source: str
    tokens: list[str]
    first: int
    length: int
    layers: list[LayerPicture]


@dataclass
class Heads:
    """What an objective makes of the teacher's heads: over `samples` texts, and on one of them."""

    objective: str
    place: Place
    samples: int
    layers: list[LayerMerges]
    sentence: Sentence | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Reach:
    """When the held-out loss first came down to `target`, by straight lines between evaluations; None: it never did."""

    target: float
    source: str
    """Where the target comes from: a number, or another run."""
    metric: str
    best: float | None
    """The lowest held-out loss of this run."""
    step: float | None = None
    seconds: float | None = None
    rival_step: float | None = None
    """The same of the run that the target comes from."""
    rival_seconds: float | None = None


@dataclass
class Inspection:
    """The content of inspection.json."""

    steps: int
    """Steps of the run when it was inspected; zero for a recipe that has not been run."""
    recipe: str = ""
    """Digest of the recipe: to an inspection of another one no part is added."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each part took."""
    interference: Interference | None = None
    features: list[Features] | None = None
    heads: list[Heads] | None = None
    landscape: Landscape | None = None
    reach: Reach | None = None
    measures: dict[str, float] = field(default_factory=dict)
    """Last values of what objectives measured of themselves (`measure/...` in metrics.jsonl)."""
    notes: list[str] = field(default_factory=list)


@cache
def _format() -> TypeAdapter[Inspection]:
    return TypeAdapter(Inspection)


def write_inspection(path: Path, inspection: Inspection) -> None:
    text = _format().dump_json(inspection, indent=1).decode()
    write_text_atomically(path, text + "\n")


def read_inspection(path: Path) -> Inspection | None:
    """None where there is no such file; `BadInput` where it cannot be read as an inspection."""
    if not path.exists():
        return None
    try:
        return _format().validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise BadInput(
            f"{path} cannot be read as the result of an inspection ({place}: {first['msg']}); "
            "run `stillroom inspect` again"
        ) from error
