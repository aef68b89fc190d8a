"""Files are refused before anything is done for them, and whatever happens while one is written, none is left half."""

import errno
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import write_faults
from matplotlib.figure import Figure

from mflux_teacache.errors import NotWritten, OptionError
from mflux_teacache.pieces.output_files import check_output, png_of, replace_file, writing


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    Path("old.png").write_bytes(b"old")


@contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


# --- before ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["new.png", "A.PNG", "old.png", "folder.png/new.png", "a" * 251 + ".png"])
def test_what_can_be_written(path):
    check_output("--png", Path(path), ".png")
    replace_file(Path(path), b"new")
    assert Path(path).read_bytes() == b"new"


def test_any_suffix():
    check_output("--png", Path("picture"))
    with pytest.raises(OptionError, match="--png is nowhere/picture, but there is no folder nowhere"):
        check_output("--png", Path("nowhere/picture"))


LONG = "a" * 300 + ".png"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.txt", r"--png is a\.txt; its name must end in \.png\. Try --png a\.png\."),
        ("a", r"Try --png a\.png\."),
        ("", r"--png is \.; its name must end in \.png\. Try --png result\.png\."),
        ("no/a.png", r"--png is no/a\.png, but there is no folder no\. Make it first"),
        ("old.png/a.png", r"--png is old\.png/a\.png, but there is no folder old\.png\."),
        ("folder.png", r"--png is folder\.png, which is a folder\. Give the name of a file in it\."),
        ("a\0.png", "--png is a\\\\x00\\.png, where no file can be: embedded null byte\\. Name a file in a folder of"),
        (LONG, r"--png is a+\.png, where no file can be: File name too long\. Name a file"),
        (f"{LONG}/a.png", "where no file can be: File name too long"),
        ("loop.png", r"--png is loop\.png, where no file can be: Too many levels of symbolic links"),
        ("\ud800.png", "where no file can be: .*surrogates not allowed"),
        ("link.png", r"--png is link\.png, but there is no folder .*/gone\. Make it first"),
    ],
    ids=range(12),
)
def test_what_cannot(path, message):
    Path("loop.png").symlink_to("loop.png")
    Path("link.png").symlink_to("gone/a.png")
    with pytest.raises(OptionError, match=message):
        check_output("--png", Path(path), ".png")


def test_a_path_that_leaves_no_room_for_a_longer_name_beside_it(tmp_path):
    room = 4095 - len(str(tmp_path)) - len("/a.png")
    folders = [tmp_path]
    while room > 0:
        folders.append(folders[-1] / ("d" * min(200, room - 1)))
        room -= 201
        folders[-1].mkdir()
    long = folders[-1] / "a.png"
    long.write_bytes(b"old")
    with pytest.raises(OptionError, match="where no file can be: File name too long"):
        check_output("--png", long, ".png")


def test_without_permission(monkeypatch):
    """The file's own where there is one, and the folder's. Root may write everywhere, so it is only asked."""
    allowed = {"old.png": os.W_OK}
    monkeypatch.setattr(os, "access", lambda path, mode: allowed.get(str(path)) == mode)
    with pytest.raises(OptionError, match=r"--png is new\.png, which cannot be written\. Name a file"):
        check_output("--png", Path("new.png"), ".png")
    beside = "its folder does not take the new file that is to be moved into its place"
    with pytest.raises(OptionError, match=rf"--png is old\.png, which cannot be written: {beside}\. Name a file"):
        check_output("--png", Path("old.png"), ".png")
    allowed["."] = os.W_OK | os.X_OK
    check_output("--png", Path("old.png"), ".png")
    del allowed["old.png"]
    with pytest.raises(OptionError, match=r"--png is old\.png, which cannot be written\. Name a file"):
        check_output("--png", Path("old.png"), ".png")
    with pytest.raises(PermissionError):
        replace_file(Path("old.png"), b"new")
    assert Path("old.png").read_bytes() == b"old"


def test_a_file_of_somebody_else_in_a_folder_for_all(monkeypatch):
    Path("folder.png").chmod(0o1777)
    Path("folder.png/old.png").touch(0o666)
    check_output("--png", Path("folder.png/old.png"))
    monkeypatch.setattr(os, "geteuid", lambda: Path("folder.png").stat().st_uid + 1)
    with pytest.raises(OptionError, match="which cannot be written: its folder does not take the new file"):
        check_output("--png", Path("folder.png/old.png"))
    check_output("--png", Path("folder.png/new.png"))
    Path("folder.png").chmod(0o777)
    check_output("--png", Path("folder.png/old.png"))


def test_a_socket_is_no_place_for_a_file():
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        with pytest.raises(OptionError, match="which is neither a file nor a pipe"):
            check_output("--png", Path("socket.png"), ".png")


def test_the_file_that_a_shell_prints_into():
    """Moved away from under the shell, what is printed later would be in a file that nobody can name."""
    script = (
        "from pathlib import Path; from mflux_teacache.pieces.output_files import check_output\n"
        "check_output('--json', Path('out.json'))"
    )
    with Path("out.json").open("w") as out:
        done = subprocess.run([sys.executable, "-c", script], stdout=out, stderr=subprocess.PIPE, text=True)
    assert "OptionError: --json is out.json, where this command prints. Name another file." in done.stderr


# --- writing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o666, 0o755])
def test_a_file_keeps_its_permissions(permissions):
    Path("old.png").chmod(permissions)
    with umask(0o077):
        replace_file(Path("old.png"), b"new")
    assert (Path("old.png").read_bytes(), mode("old.png")) == (b"new", permissions)


@pytest.mark.parametrize(("mask", "permissions"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_has_those_of_any_new_file(mask, permissions):
    with umask(mask):
        replace_file(Path("new.png"), b"new")
    assert mode("new.png") == permissions


def test_what_is_to_be_secret_is_never_there_for_all_to_read(monkeypatch):
    """Also not while it is made."""
    Path("old.png").chmod(0o600)
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode)))
    replace_file(Path("old.png"), b"new")
    assert seen[0] == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_keeps_its_owner():
    os.chown("old.png", 12, 34)
    replace_file(Path("old.png"), b"new")
    status = Path("old.png").stat()
    assert (status.st_uid, status.st_gid) == (12, 34)


def test_without_the_right_to_give_files_away_it_is_written_all_the_same(monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(os, "fchmod", refuse)
    replace_file(Path("old.png"), b"new")
    assert Path("old.png").read_bytes() == b"new"


def test_links_stay_and_what_they_point_to_is_replaced():
    Path("deep").mkdir()
    Path("deep/real.png").write_bytes(b"old")
    Path("deep/second.png").symlink_to("real.png")
    Path("first.png").symlink_to("deep/second.png")
    Path("dangling.png").symlink_to("deep/new.png")
    for link in ("first.png", "dangling.png"):
        check_output("--png", Path(link), ".png")
        replace_file(Path(link), b"new")
        assert Path(link).is_symlink()
        assert Path(link).read_bytes() == b"new"
    assert sorted(os.listdir("deep")) == ["new.png", "real.png", "second.png"]


def test_a_pipe_with_a_reader_is_written_into():
    os.mkfifo("pipe.png")
    check_output("--png", Path("pipe.png"), ".png")
    content = b"x" * 1_000_000  # more than a pipe holds
    read = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe.png").read_bytes()))
    reader.start()
    while not _written("pipe.png", content):
        time.sleep(0.01)
    reader.join()
    assert read == [content]
    assert stat.S_ISFIFO(Path("pipe.png").stat().st_mode)


def _written(pipe, content):
    """False while the reader has not got there yet."""
    try:
        replace_file(Path(pipe), content)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False
    return True


def test_a_pipe_that_nobody_reads_does_not_hold_up_the_image():
    os.mkfifo("pipe.png")
    message = (
        "^--png is p, which could not be written: No such device or address. What it was to hold is lost, except for "
        "what was printed; a file that was there before is unchanged.$"
    )
    with pytest.raises(NotWritten, match=message), writing("--png", Path("p")):
        replace_file(Path("pipe.png"), b"new")


def test_a_device_is_written_into():
    check_output("--png", Path("/dev/null"))
    replace_file(Path("/dev/null"), b"new")
    with pytest.raises(NotWritten, match="No space left on device"), writing("--png", Path("/dev/full")):
        replace_file(Path("/dev/full"), b"new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_many_writers_at_once_leave_the_file_of_one_of_them():
    contents = [bytes([number]) * 50_000 for number in range(8)]
    writers = [threading.Thread(target=replace_file, args=(Path("old.png"), content)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert Path("old.png").read_bytes() in contents
    assert sorted(os.listdir()) == ["folder.png", "old.png"]


@pytest.mark.parametrize("name", ["old.png", "new.png", "link.png", "dangling.png"])
def test_full_disks_kills_and_interrupts_at_every_point(name):
    """In a process without threads, which can be forked."""
    script = (
        "import json, os; from pathlib import Path; from write_faults import torment\n"
        "os.symlink('old.png', 'link.png'); os.symlink('gone.png', 'dangling.png')\n"
        f"print(json.dumps(torment(Path({name!r}), bytes(range(256)) * 40)))"
    )
    path = os.pathsep.join([str(Path(write_faults.__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tried, problems = json.loads(done.stdout)
    assert problems == []
    assert tried > 60


def test_the_folder_is_told_to_keep_the_new_name(monkeypatch):
    synced, moved = [], []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_mode))
    monkeypatch.setattr(os, "replace", lambda *names: (moved.append(len(synced)), replace(*names)))
    replace_file(Path("old.png"), b"new")
    assert [stat.S_ISDIR(kind) for kind in synced] == [False, True]
    assert moved == [1]


def test_a_file_system_that_cannot_keep_names_costs_nothing(monkeypatch):
    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    replace_file(Path("old.png"), b"new")
    assert Path("old.png").read_bytes() == b"new"


def test_a_drawing_that_fails_leaves_the_picture_as_it_was():
    class Bad:
        def savefig(self, file, format):
            file.write(b"half")
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        replace_file(Path("old.png"), png_of(Bad()))
    assert Path("old.png").read_bytes() == b"old"
    assert png_of(Figure(figsize=(1, 1))).startswith(b"\x89PNG")


def test_what_turns_out_not_to_be_writable_is_named():
    with (
        pytest.raises(NotWritten, match="--png is folder.png, which could not be written: Is a directory"),
        writing("--png", Path("folder.png")),
    ):
        replace_file(Path("folder.png"), b"x")
    with pytest.raises(ZeroDivisionError), writing("--png", Path("new.png")):
        1 / 0  # noqa: B018


def test_what_killed_writers_have_left_is_removed_by_a_later_one():
    day, now = 24 * 60 * 60, time.time()
    left = {f".mflux-teacache-{digit * 16}.tmp": now - age for digit, age in (("0", 2 * day), ("a", 60))}
    others = {".mflux-teacache-mine.tmp": 0, "x.mflux-teacache-0000000000000000.tmp": 0, "notes.tmp": 0}
    for name, changed in {**left, **others}.items():
        Path(name).touch()
        os.utime(name, (changed, changed))
    Path(f".mflux-teacache-{'b' * 16}.tmp").mkdir()  # cannot be removed in this way, and is of no account
    os.utime(f".mflux-teacache-{'b' * 16}.tmp", (0, 0))
    before = set(os.listdir())
    replace_file(Path("old.png"), b"new")
    assert before - set(os.listdir()) == {f".mflux-teacache-{'0' * 16}.tmp"}
