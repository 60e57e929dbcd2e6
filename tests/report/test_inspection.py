"""The section "Inside the training", from an inspection made without a model."""

from pathlib import Path

import pytest
from rich.console import Console

from stillroom.core.inspection import (
    Course,
    Features,
    GradientPair,
    Gradients,
    Inspection,
    Interference,
    Landscape,
    Place,
    Reach,
    Scatter,
    Separation,
    write_inspection,
)
from stillroom.core.record import INSPECTION
from stillroom.report.inspection import (
    features_sentence,
    inspection_section,
    interference_sentence,
    landscape_sentence,
    reach_sentence,
)
from stillroom.report.inspection_terminal import inspection_tables
from stillroom.report.page import write_report
from stillroom.report.read import read_runs

TERMS = ["hard.cross_entropy/cross_entropy", "attention.sharp/token", "attention.sharp/head"]


def pair(first: int, second: int, cosine: float | None) -> GradientPair:
    if cosine is None:
        return GradientPair(TERMS[first], TERMS[second], 0)
    return GradientPair(TERMS[first], TERMS[second], 16, cosine, 0.1, abs(cosine), 1 - cosine, 0.25, 2.0)


def gradients(name: str, step: int, cosines: tuple[float | None, ...]) -> Gradients:
    pairs = [pair(0, 1, cosines[0]), pair(0, 2, cosines[1]), pair(1, 2, cosines[2])]
    groups = {"all": pairs, "query and key": pairs, "block 1": pairs, "block 2": pairs}
    return Gradients(Place(name, step, step / 2000), dict.fromkeys(TERMS, 1.0), groups)


def separation(space: str, control: float | None, silhouette: float = 0.4) -> Separation:
    return Separation("student", space, silhouette, 0.0, control, 0.9, 0.1, 0.3)


def whole(steps: int = 2000) -> Inspection:
    places = [gradients("start", 0, (0.1, 0.2, 0.9)), gradients("end", steps, (-0.3, 0.0, 0.7))]
    clouds = {
        f"{side}/{g}": [(0.0, 1.0), (1.0, 2.0)] for side in ("student", "teacher") for g in ("token", "head")
    }
    features = Features(
        "attention.sharp",
        places[1].place,
        2,
        ["token", "head"],
        [separation("before projection", None), separation("after projection", 0.39)],
        [Scatter("before projection", "PCA", clouds)],
    )
    course = Course("direction 1", [-1.0, 0.0, 1.0], [3.0, 2.0, None], None)
    bent = Course("direction 2", [-1.0, 0.0, 1.0], [3.0, 2.0, 3.0], 2.0)
    straight = Course("interpolation", [0.0, 1.0], [4.0, 2.0])
    return Inspection(
        steps,
        interference=Interference(list(TERMS), 16, 8, 0, places, ["a note."]),
        features=[features],
        landscape=Landscape(places[1].place, 64, 0, [course, bent], straight),
        reach=Reach(3.0, "forward KL", "loss", 2.8, 120.0, 61.0, 200.0, 90.0),
        notes=["The recipe has not been run."],
    )


@pytest.fixture
def inspected(make_run) -> Path:
    folder = make_run()
    write_inspection(folder / INSPECTION, whole())
    return folder


def test_the_page_shows_every_part(inspected, tmp_path):
    page = write_report([inspected], tmp_path / "page.html").read_text()
    for expected in (
        "Inside the training",
        "Do the terms pull in one direction?",
        "Cosine over training",
        "Cosine in every block",
        "PCA, before projection",
        "By construction",
        "Loss along random directions",
        "From the untrained student",
        "The run reached held-out loss 3.000 (the final one of forward KL)",
        "The recipe has not been run.",
    ):
        assert expected in page, expected
    assert page.count('class="opposed"') == 1
    assert page.count('class="aligned"') == 2


def test_runs_without_an_inspection_have_no_section(make_run, tmp_path):
    assert "Inside the training" not in write_report([make_run()], tmp_path / "page.html").read_text()


def test_a_damaged_inspection_is_a_note(make_run, tmp_path):
    folder = make_run()
    (folder / INSPECTION).write_text("{}")
    page = write_report([folder], tmp_path / "page.html").read_text()
    assert "cannot be read as the result of an inspection" in page


def test_an_inspection_of_another_step_says_so(make_run):
    folder = make_run()
    write_inspection(folder / INSPECTION, whole(steps=1000))
    assert "Inspected at step 1,000; the run has 2,000 steps now." in "".join(
        inspection_section(read_runs([folder]))
    )


def test_names_are_escaped(make_run, tmp_path):
    folder, found = make_run(), whole()
    hostile = "<img src=x onerror=alert(1)>"
    assert found.interference is not None
    found.interference.terms[0] = hostile
    found.notes = [hostile]
    write_inspection(folder / INSPECTION, found)
    assert "<img" not in write_report([folder], tmp_path / "page.html").read_text()


def test_an_inspection_with_nothing_in_it(make_run, tmp_path):
    folder = make_run()
    write_inspection(folder / INSPECTION, Inspection(steps=2000, features=[]))
    write_report([folder], tmp_path / "page.html")


def test_sentence_on_interference_names_the_worst_pair():
    sentence = interference_sentence(gradients("end", 1, (-0.3, 0.0, 0.7)))
    assert (
        "Of 3 pairs of terms, hard.cross_entropy/cross_entropy and attention.sharp/token agree least"
        in sentence
    )
    assert "\u22120.30" in sentence
    assert sentence.endswith("oppose each other in 25\u00a0% of the batches.")
    nothing = interference_sentence(gradients("end", 1, (None, None, None)))
    assert nothing == "No two terms have gradients that could be compared."


@pytest.mark.parametrize(
    ("silhouette", "verdict"), [(0.4, "say nothing about the model"), (0.9, "do not explain all")]
)
def test_sentence_on_features_weighs_the_control(silhouette, verdict):
    found = Features("f", Place("end", 1), 2, [], [separation("after projection", 0.39, silhouette)], [])
    assert verdict in features_sentence(found)
    found.separations = [separation("before projection", None)]
    assert features_sentence(found).endswith("separate with a silhouette of 0.40.")


def test_sentence_on_the_landscape():
    found = whole().landscape
    assert found is not None
    assert "Along 1 random direction, " in landscape_sentence(found)
    found.directions = found.directions[:1]
    assert "not finite" in landscape_sentence(found)


def test_sentences_on_a_target():
    assert reach_sentence(Reach(2.0, "given", "loss", 2.5)) == (
        "The run never reached held-out loss 2.000; its lowest is 2.500."
    )
    assert reach_sentence(Reach(2.0, "given", "loss", 1.5, 10.0, 5.0)).endswith(
        "after 10 steps and 5.0\u00a0s."
    )


def test_the_terminal_prints_the_same_sentences(inspected):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        for part in inspection_tables(inspected / INSPECTION):
            console.print(part)
    text = " ".join(console.export_text().split())
    assert "conflicts" in text
    assert "say nothing about the model" in text
    assert "note: a note." in text
