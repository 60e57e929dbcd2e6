import pytest

from stillroom.data.docs_split import REFERENCE, is_held_out, part_of, without_repeats


def test_the_split_does_not_depend_on_the_installation():
    names = ("json", "glob", "io", "email", "importlib", "zipfile", "typing", "torch.nn", "torch.optim")
    assert [name for name in names if is_held_out(name)] == ["glob", "io", "importlib", "zipfile", "torch.nn"]
    assert not is_held_out(REFERENCE)


@pytest.mark.parametrize(
    ("module", "package", "part"),
    [
        ("json", "", "json"),
        ("json.decoder", "", "json"),
        ("_pyio", "", "io"),
        ("ntpath", "", "os"),
        ("torch.nn.modules.linear", "torch.nn", "torch.nn"),
        ("typer", "typer", "typer"),
    ],
)
def test_twins_of_a_module_are_one_part(module: str, package: str, part: str):
    assert part_of(module, package) == part


def test_held_out_rows_that_repeat_training_text_are_dropped():
    train = [{"output": "One two three four five six seven eight nine ten."}]
    repeated = {"output": "one, two; three four five six seven EIGHT nine"}
    half_new = {"output": "three four five six seven eight nine ten eleven twelve thirteen"}
    short = {"output": "One two three."}
    assert without_repeats([repeated, half_new, short], train) == [half_new, short]
    assert without_repeats([short], [short]) == []
