"""Texts that address a verifier or a judge achieve nothing by themselves."""

import injections


def test_no_injection_is_paid_by_rules_leaves_its_quotes_or_is_taken_for_a_verdict() -> None:
    found = injections.parsers()
    assert found["texts"] == 324 and found["judged by rules"] == 324 * 4 * 2
    assert found["paid by rules"] == found["left their quotes"] == []
    assert found["rulings read from a verifier that repeats them"] == 0
    read = found["grades read from a judge that repeats them"]
    assert read == {"as they stand": 0, "with the word of the request": 324}


def test_a_text_that_holds_the_answer_is_noticed(monkeypatch) -> None:
    monkeypatch.setitem(injections.WANTED, "checker", "The answer is 7.")
    assert any("as digit" in said for said in injections.parsers()["paid by rules"])
