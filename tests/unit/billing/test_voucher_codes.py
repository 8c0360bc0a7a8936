"""Codes of vouchers: every slip of a hand is told from a code."""

from __future__ import annotations

import random
import secrets

import pytest

from billing.voucher_codes import ALPHABET, SIGNS, NoCode, digest, grouped, new_code, read_code

CODE = new_code(random.Random(7).choice)


def test_a_code_is_read_as_people_write_it() -> None:
    assert read_code(grouped(CODE)) == CODE
    assert read_code(f" {grouped(CODE).lower().replace('-', ' ')}\n") == CODE
    assert [len(part) for part in grouped(CODE).split("-")] == [4, 4, 4, 4]


def test_the_alphabet_has_no_look_alikes_and_no_vowels() -> None:
    assert not {*ALPHABET} & {*"AEIOU01LQSZBG"}
    assert len({*ALPHABET}) == 23


def test_codes_are_drawn_by_chance() -> None:
    codes = {new_code(secrets.choice) for _ in range(2000)}
    assert len(codes) == 2000
    assert {sign for code in codes for sign in code[:-1]} == {*ALPHABET}
    assert all(read_code(code) == code for code in codes)


def test_every_sign_that_is_wrong_is_found() -> None:
    for place in range(SIGNS):
        for sign in {*ALPHABET} - {CODE[place]}:
            with pytest.raises(NoCode):
                read_code(CODE[:place] + sign + CODE[place + 1 :])


def test_every_two_signs_that_changed_places_are_found() -> None:
    for left in range(SIGNS):
        for right in range(left + 1, SIGNS):
            if CODE[left] != CODE[right]:
                signs = list(CODE)
                signs[left], signs[right] = signs[right], signs[left]
                with pytest.raises(NoCode):
                    read_code("".join(signs))


@pytest.mark.parametrize("written", ["", CODE[:-1], CODE + "2", "O" + CODE[1:], "ñ" * SIGNS, "0" * SIGNS])
def test_what_is_no_code_is_refused(written: str) -> None:
    with pytest.raises(NoCode, match="16 signs"):
        read_code(written)


def test_what_is_kept_depends_on_the_key() -> None:
    kept = {digest(bytes([number]) * 32, CODE) for number in range(3)}
    assert len(kept) == 3
    assert {len(each) for each in kept} == {32}
    assert digest(b"key", CODE) == digest(b"key", CODE)
