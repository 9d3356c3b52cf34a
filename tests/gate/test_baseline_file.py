"""The baseline's file: whatever is damaged in it is refused in words, and no regression passes."""

import hashlib
import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import MachineError, UsageError
from bench.gate.baseline_file import FORMAT, differences, dump, read, save, write
from tests.descriptors import few

from .handmade import changed, flat, run, series, system

BASELINE = run(lstm=replace(system(pitch_distance=flat(10.0, 2), training_seconds=series([50, 51], "seeds")), exceeded=1.25))
DATA = dump(BASELINE).encode()


def refusal(path, data):
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read(path)
    assert caught.value.exit_code == 2
    return caught.value


def refused(path, data):
    """Whether these bytes are refused; any error but a refusal is raised."""
    path.write_bytes(data)
    try:
        read(path)
    except UsageError:
        return True
    return False


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("baseline") / "b.json"


def test_what_was_written_is_read(path):
    write(path, BASELINE)
    assert read(path) == BASELINE
    assert path.read_bytes() == DATA


def test_a_link_and_permissions_are_kept(tmp_path):
    (tmp_path / "real.json").touch(0o600)
    (tmp_path / "b.json").symlink_to("real.json")
    write(tmp_path / "b.json", BASELINE)
    assert (tmp_path / "b.json").is_symlink()
    assert read(tmp_path / "real.json") == BASELINE
    assert (tmp_path / "real.json").stat().st_mode & 0o777 == 0o600


def test_it_is_json_with_the_checksum_of_its_second_line_in_the_first(path):
    first, second = DATA.splitlines(keepends=True)
    given = json.loads(DATA)
    assert (given.pop("bench_baseline"), given.pop("sha256")) == (FORMAT, hashlib.sha256(second).hexdigest())
    kept = json.loads(json.dumps(asdict(BASELINE)))
    kept["systems"]["lstm"]["over"] = kept["systems"]["lstm"].pop("exceeded")
    assert given == kept
    assert first.endswith(b",\n")


class TestDamage:
    def test_any_byte_that_changes_is_refused(self, path):
        for i in range(len(DATA)):
            assert refused(path, DATA[:i] + bytes([DATA[i] ^ 1 << i % 8]) + DATA[i + 1 :]), i

    def test_any_file_that_ends_early_is_refused(self, path):
        assert all(refused(path, DATA[:i]) for i in range(len(DATA)))

    @given(st.integers(0, len(DATA)), st.integers(0, len(DATA)), st.binary(max_size=20))
    @settings(max_examples=300, deadline=None)
    def test_any_part_that_is_replaced_is_refused(self, path, start, stop, part):
        data = DATA[:start] + part + DATA[max(start, stop) :]
        assert data == DATA or refused(path, data)

    @pytest.mark.parametrize(
        "data",
        [
            DATA.replace(b'"values":[[10.0,', b'"values":[[10.5,'),
            DATA.replace(b"\n", b"\r\n"),
            b"<<<<<<< HEAD\n" + DATA + b"=======\n" + DATA.replace(b"10.0", b"10.5") + b">>>>>>> other\n",
            json.dumps(json.loads(DATA), indent=2).encode(),
            b'{"bench_baseline":3}',
        ],
        ids=["edited", "line ends", "merge conflict", "formatted", "no checksum"],
    )
    def test_what_to_do_is_said(self, path, data):
        assert data != DATA
        error = refusal(path, data)
        assert error.message == f"{path} does not match its checksum: it was edited by hand or is damaged."
        assert error.hint == f"Take it again from a finished run: bench baseline RUN --file {path} --force."

    @pytest.mark.parametrize("text", ["", "[1]", '{"format": 1}', "a letter", 200_000 * "[", "\ufeff{}", "\x00"])
    def test_what_is_no_baseline(self, path, text):
        error = refusal(path, text.encode())
        assert error.message == f"{path} is no baseline."
        assert error.hint == "Take one from a finished run, in another file: bench baseline RUN --file baseline.json."

    @pytest.mark.parametrize("version", [1, 9])
    def test_another_format(self, path, version):
        error = refusal(path, b'{"bench_baseline": %d}' % version)
        assert error.message == f"{path} has format {version}; this version of bench reads format 3."

    @pytest.mark.parametrize("content", ["", '"run":1}', 5000 * "[", '"run":NaN}'])
    def test_another_program_s_content_is_refused_in_words_too(self, path, content):
        checksum = hashlib.sha256(content.encode()).hexdigest()
        error = refusal(path, f'{{"bench_baseline":3,"sha256":"{checksum}",\n{content}'.encode())
        assert error.message.startswith(f"{path} is no baseline: ")

    @pytest.mark.parametrize(
        ("damage", "fault"),
        [
            ({"values": ((10.0,) * 20,)}, "it has not a value for each seed and piece"),
            ({"values": ((10.0,) * 20, (10.0,) * 19)}, "it has not a value for each seed and piece"),
            ({"values": (), "seeds": ()}, "its seeds are not those of the row"),
            ({"seeds": (0, 5)}, "its seeds are not those of the row"),
            ({"seeds": (0, 0)}, "a seed or a piece occurs twice"),
            ({"at": (0,) * 20}, "a seed or a piece occurs twice"),
            ({"weights": ()}, "it has not a weight above 0 for each piece"),
            ({"weights": (0.0,) * 20}, "it has not a weight above 0 for each piece"),
            ({"value": 1e308}, r"a value is beyond 10\^15"),
        ],
    )
    def test_parts_that_do_not_fit_are_refused(self, path, damage, fault):
        key = next(iter(BASELINE.systems["lstm"].metrics))
        metrics = BASELINE.systems["lstm"].metrics
        write(path, changed(BASELINE, "lstm", metrics=metrics | {key: replace(metrics[key], **damage)}))
        with pytest.raises(UsageError, match=f"is no baseline: lstm: {key}: {fault}"):
            read(path)

    def test_a_yardstick_is_a_time(self, path):
        write(path, changed(BASELINE, "lstm", yardstick={"0": 0.5, "1": 0.0}))
        with pytest.raises(UsageError, match="lstm: a yardstick is no time"):
            read(path)


def test_differences_are_those_of_the_terms(path):
    write(path, BASELINE)
    assert differences(path, BASELINE) == []
    other = run(lstm=BASELINE.systems["lstm"])
    other.terms["scale"] = "gpu"
    assert differences(path, other) == ["scale ('cpu', not 'gpu')"]
    path.write_text("a letter")
    assert differences(path, BASELINE) == [f"{path} is no baseline"]


class TestWriting:
    def test_folders_are_made(self, tmp_path):
        save(tmp_path / "a" / "b" / "c.md", "text")
        assert (tmp_path / "a" / "b" / "c.md").read_text() == "text"

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(UsageError) as caught:
            save(tmp_path, "text")
        assert caught.value.message == f"{tmp_path} is a folder, and should be a file."

    def test_a_place_that_can_not_be_written_is_named_as_it_was_given(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError) as caught:
            save(tmp_path / "file" / "x.json", "text")
        assert caught.value.message.startswith(f"{tmp_path / 'file' / 'x.json'} can't be written: ")
        assert ".tmp" not in caught.value.message

    def test_a_machine_that_refuses_is_not_the_place_s_fault(self, tmp_path):
        write(tmp_path / "b.json", BASELINE)
        with few(), pytest.raises(MachineError, match="Too many files are open"):
            save(tmp_path / "c.json", "text")
        with few(), pytest.raises(MachineError, match="Too many files are open"):
            read(tmp_path / "b.json")


def test_more_values_than_fit_are_refused_before_any_is_made(tmp_path):
    at = tmp_path / "b.json"
    assert "has about 11,200,000 values" in refusal(at, b"0," * 11_200_000).message


def test_more_than_can_be_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.gate.baseline_file.MOST_RECORD", 1000)
    with pytest.raises(UsageError, match="The baseline can't be stored: it has "):
        write(tmp_path / "b.json", BASELINE)
    assert not list(tmp_path.iterdir())


def test_characters_that_can_not_be_shown_are_kept(tmp_path):
    strange = run(**{"l\ue000": system(pitch_distance=flat(10.0, 2))})
    write(tmp_path / "b.json", strange)
    assert read(tmp_path / "b.json") == strange
