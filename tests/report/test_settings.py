from stillroom.core.record import RECIPE
from stillroom.report.read import read_runs
from stillroom.report.settings import objectives_table, settings_section


def test_objectives_with_their_settings(make_run):
    html = objectives_table(read_runs([make_run()]))
    assert "logits.forward_kl" in html
    assert "temperature 2.0" in html
    assert "no run has recorded" in objectives_table(read_runs([make_run(objectives=[])]))


def test_what_differs_is_marked(make_run):
    html = settings_section(read_runs([make_run(), make_run("b", seed=11)]))
    rows = [row for row in html.split("<tr")[1:] if "differs" in row]
    assert [row.split("</th>")[0].rsplit(">", 1)[1] for row in rows] == ["folder", "seed"]


def test_recipe_is_shown_or_its_absence(make_run):
    folder = make_run()
    assert "max_steps: 2000" in settings_section(read_runs([folder]))
    (folder / RECIPE).write_text("x" * 10**6)
    assert len(settings_section(read_runs([folder]))) < 150_000
    (folder / RECIPE).unlink()
    assert "recipe.yaml is absent" in settings_section(read_runs([folder]))
