"""``import --send``: its options are those of the command."""

from types import SimpleNamespace
from urllib.parse import parse_qs

from mizu.console import import_commands
from mizu.console.arguments import FLAG
from mizu.console.sending import FLAGS, parsed


def test_every_option_of_import_goes_with_a_file_that_is_sent():
    """One that takes no value needs none here either."""
    services = SimpleNamespace(imports=object(), audit=None)
    command = next(one for one in import_commands.commands(services) if one.name == "import")
    assert set(FLAGS) == {one.name for one in command.arguments if one.kind is FLAG}
    path, query = parsed(["import", "--original-ids", "--template", "t", "--send", "/tmp/a.csv", "--dry-run"])
    assert path == "/tmp/a.csv"
    assert parse_qs(query) == {
        "original_ids": ["true"],
        "dry_run": ["true"],
        "template": ["t"],
        "wait": ["0"],
        "file": ["a.csv"],
    }
