"""What a reload brings into force, and how settings travel to another process."""

from __future__ import annotations

from config.settings import document, from_document, in_force, parse

FIRST = parse('[radius]\nauth_port = 1645\nreject_delay_milliseconds = 300\n[log]\nlevel = "debug"\n', "first")
SECOND = parse("[radius]\nauth_port = 1999\nworkers = 3\n[retention]\nrefusal_days = 7\n", "second")


def test_reload_takes_live_keys_and_leaves_those_that_need_a_restart() -> None:
    merged = in_force(FIRST, SECOND)
    assert merged.radius.auth_port == 1645
    assert merged.radius.workers == 1
    assert merged.radius.reject_delay_milliseconds is None
    assert merged.retention.refusal_days == 7
    assert merged.log == SECOND.log


def test_settings_arrive_in_another_process_as_they_left() -> None:
    for settings in (FIRST, SECOND, parse("", "nothing")):
        assert from_document(document(settings)) == settings
