"""Secrets that are encrypted at rest, and the file with their keys."""

import pytest

from mizu.accounts.sealing import KeyFile, SealBroken, SealingKeys, key_id, new_key
from mizu.errors import ConfigError


def test_what_is_sealed_opens_again():
    """Any text; the same text is sealed differently each time; empty stays empty."""
    keys = SealingKeys([new_key()])
    for secret in ("battery staple", "ü", "x" * 256, ":"):
        assert keys.open(keys.seal(secret)) == secret
        assert secret not in keys.seal(secret) or secret == ":"
    assert keys.seal("a") != keys.seal("a")
    assert keys.seal("") == keys.open("") == ""


def test_without_its_key_it_stays_closed():
    """Another key, a changed text: said, never wrong text."""
    sealed = SealingKeys([new_key()]).seal("secret")
    other = SealingKeys([new_key()])
    with pytest.raises(SealBroken, match="not in the key file"):
        other.open(sealed)
    keys = SealingKeys([new_key()])
    sealed = keys.seal("secret")
    for changed in (sealed[:-4] + "AAA=", f"{keys.current}:x", f"{keys.current}:", "nonsense", ":"):
        with pytest.raises(SealBroken):
            keys.open(changed)


def test_keys_follow_each_other(tmp_path):
    """Added, promoted, dropped: what was sealed before opens until its key is dropped."""
    file = KeyFile(tmp_path / "secret.key")
    first = file.make()
    old = first.seal("secret")
    added = file.add()
    assert (len(added), added.current) == (2, first.current)
    promoted = file.promote()
    assert promoted.current != first.current
    assert promoted.open(old) == "secret"
    new = promoted.seal("secret")
    alone = file.drop_old()
    assert (len(alone), alone.open(new)) == (1, "secret")
    with pytest.raises(SealBroken):
        alone.open(old)


def test_each_step_can_be_repeated(tmp_path):
    """A second time it does nothing: no key more, and never the old one again. Copies say the same."""
    file, copy = KeyFile(tmp_path / "secret.key"), KeyFile(tmp_path / "copy")
    first = file.make().current
    file.promote()
    assert (file().current, file.begun) == (first, False)
    added = file.add().ids
    assert file.add().ids == added
    (tmp_path / "copy").write_bytes((tmp_path / "secret.key").read_bytes())
    (tmp_path / "copy").chmod(0o600)
    second = file.promote().current
    assert second != first
    assert file.promote().current == KeyFile(tmp_path / "secret.key").promote().current == second
    assert copy.promote().current == second
    third = file.add()
    assert (third.current, len(third.ids)) == (second, 3)
    assert file.promote().current == third.ids[1]
    assert set(file().ids) == set(third.ids)
    assert file.drop_old().ids == file.drop_old().ids == (third.ids[1],)


def test_files_from_before_are_read(tmp_path):
    """Two keys without an empty line: the second is new."""
    path = tmp_path / "secret.key"
    keys = [new_key(), new_key()]
    path.write_text("".join(f"{key}\n" for key in keys))
    path.chmod(0o600)
    file = KeyFile(path)
    assert file().current == key_id(keys[0])
    assert file.promote().current == key_id(keys[1])
    assert file.promote().current == key_id(keys[1])


def test_the_file_is_ours_alone(tmp_path):
    """Made with mode 0600; one that others can read is refused."""
    path = tmp_path / "secret.key"
    KeyFile(path).make()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read"):
        KeyFile(path)()


def test_a_copied_file_is_noticed(tmp_path):
    """A node uses the keys that were put there while it runs."""
    ours, theirs = KeyFile(tmp_path / "a"), KeyFile(tmp_path / "b")
    ours.make()
    sealed = theirs.make().seal("secret")
    ours.write((tmp_path / "b").read_text().split())
    assert ours().open(sealed) == "secret"


def test_a_lost_file_is_said_and_no_other_made(tmp_path):
    """Also while the server runs. With the file back all opens again."""
    path = tmp_path / "secret.key"
    file = KeyFile(path)
    assert not file.there
    sealed = file.make().seal("secret")
    path.rename(tmp_path / "elsewhere")
    for asked in (file, file.add, file.promote, file.drop_old):
        with pytest.raises(SealBroken, match="is missing: put a copy back"):
            asked()
    assert not path.exists()
    (tmp_path / "elsewhere").rename(path)
    assert file().open(sealed) == "secret"


@pytest.mark.parametrize("text", ["", "nonsense\n", "\xff"])
def test_a_broken_file_is_said_and_kept(tmp_path, text):
    """It is never replaced by new keys: those would make every secret unreadable."""
    path = tmp_path / "secret.key"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(ConfigError):
        KeyFile(path)()
    assert path.read_text(encoding="latin-1") == text
