import math

from stillroom.core.record import METRICS, append_jsonl
from stillroom.report.curves import curves, series
from stillroom.report.read import read_runs


def write(folder, *rows):
    (folder / METRICS).unlink()
    for row in rows:
        append_jsonl(folder / METRICS, row)
    return folder


def test_one_chart_per_metric_in_groups(make_run):
    html = curves(read_runs([make_run(lines=30), make_run("hard labels", lines=30)]))
    assert html.count("<svg") == 8
    heads = ["Held-out set", "Training loss", "Optimization"]
    places = [html.index(f"<h3>{head}</h3>") for head in heads]
    assert places == sorted(places)
    assert "logits.forward_kl · token" in html
    assert "trained tokens" in html


def test_a_resumed_run_keeps_the_later_value(make_run):
    rows = [
        {"split": "train", "step": s, "loss": v}
        for s, v in ((2, 4.0), (3, 9.0), (1, 5.0), (2, 3.5), (3, 3.0))
    ]
    (run,) = read_runs([write(make_run(), *rows)])
    assert series(run, "train", "loss", "step") == [(1, 5.0), (2, 3.5), (3, 3.0)]
    assert ">steps<" in curves([run])


def test_odd_rows(make_run):
    rows = [
        {"split": "train", "step": 1, "tokens": None, "loss": "high", "flag": True, "x" * 500: 1.0},
        {"split": "train", "step": 2, "loss": math.nan, "<b>": 2},
        {"loss": 1.0},
    ]
    html = curves(read_runs([write(make_run(), *rows)]))
    assert "flag" not in html
    assert "no finite value" in html
    assert "&lt;b&gt;" in html
    assert "x" * 200 not in html


def test_too_many_metrics(make_run):
    html = curves(
        read_runs([write(make_run(), {"split": "train", "step": 1, **{f"m{i}": i for i in range(500)}})])
    )
    assert html.count("<figure") == 48
    assert "452 further curves are left out" in html


def test_none(make_run):
    folder = make_run()
    (folder / METRICS).write_text("")
    assert "no run has recorded a curve" in curves(read_runs([folder]))


def test_measures_of_layers_share_a_chart(make_run):
    rows = [
        {"split": "train", "step": step, **{f"measure/heads/alpha/{n}": n / 20 for n in range(1, 21)}}
        for step in (1, 2)
    ]
    rows[1] |= {"measure/heads/clamped": 0.5, "measure/lone/3": 1.0, "measure/heads/alpha/mean": 0.4}
    merging = write(make_run("merging"), *rows)
    html = curves(read_runs([merging]))
    assert html.count("<figure") == 4
    assert html.count("<b>heads · alpha</b>") == 1
    assert "layer 20" in html
    assert "layer 1<" not in html
    assert "7 of 20 layers" in html
    both = curves(read_runs([merging, write(make_run("labels"), {"split": "train", "step": 1, "loss": 1.0})]))
    assert "merging. 7 of 20 layers." in both
    assert "labels." not in both
